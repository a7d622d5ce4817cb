//! Writing a file of counts.

use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::{CountRules, CountSummary, HEADER_BYTES, MAGIC, VERSION, header_checksum};
use crate::error::{Error, Result};
use crate::files::atomic::AtomicFile;

/// Writes pretokens in ascending order; the file appears, whole, when finished.
pub(crate) struct RunWriter {
    file: AtomicFile,
    rules: Vec<u8>,
    summary: CountSummary,
    records_bytes: u64,
    hash: Xxh3,
    /// Records that are not written yet.
    buffer: Vec<u8>,
}

impl RunWriter {
    const BUFFER_BYTES: usize = 1 << 16;

    pub(crate) fn create(path: &Path, rules: &CountRules) -> Result<Self> {
        let mut file = AtomicFile::create(path)?;
        let rules_json =
            serde_json::to_vec(rules).map_err(|error| Error::invalid(format!("the rules of counting: {error}")))?;
        file.write(&[0; HEADER_BYTES])?;
        file.write(&rules_json)?;
        let summary = CountSummary { rules: rules.clone(), num_pretokens: 0, num_bytes: 0 };
        let buffer = Vec::with_capacity(Self::BUFFER_BYTES);
        Ok(Self { file, rules: rules_json, summary, records_bytes: 0, hash: Xxh3::new(), buffer })
    }

    /// The caller sees to it that each pretoken is greater than the one before, and counted at least once.
    pub(crate) fn push(&mut self, pretoken: &[u8], count: u64) -> Result<()> {
        push_varint(&mut self.buffer, pretoken.len() as u64);
        self.buffer.extend_from_slice(pretoken);
        push_varint(&mut self.buffer, count);
        self.summary.num_pretokens += 1;
        if self.buffer.len() >= Self::BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.hash.update(&self.buffer);
        self.records_bytes += self.buffer.len() as u64;
        self.file.write(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the header and puts the file under its name.
    pub(crate) fn finish(mut self, num_bytes: u64) -> Result<CountSummary> {
        self.flush()?;
        self.summary.num_bytes = num_bytes;
        let mut header = MAGIC.to_vec();
        header.extend(VERSION.to_le_bytes());
        header.extend((self.rules.len() as u32).to_le_bytes());
        header.extend(self.summary.num_pretokens.to_le_bytes());
        header.extend(num_bytes.to_le_bytes());
        header.extend(self.records_bytes.to_le_bytes());
        header.extend(header_checksum(&header, &self.rules).to_le_bytes());
        header.extend(self.hash.digest().to_le_bytes());
        self.file.write_at_start(&header)?;
        self.file.commit()?;
        Ok(self.summary)
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
