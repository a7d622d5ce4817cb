//! Reading a file of counts, and checking it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::{CountSummary, HEADER_BYTES, MAGIC, MAX_RULES_BYTES, VERSION, header_checksum};
use crate::error::{Error, Result};

/// Reads pretokens in ascending order, and finds out at the end whether they are those that were written.
pub(crate) struct RunReader {
    path: PathBuf,
    file: File,
    summary: CountSummary,
    checksum: u64,
    hash: Xxh3,
    /// Bytes of the file that are not in the buffer yet, and pretokens that are still to come.
    bytes_left: u64,
    pretokens_left: u64,
    /// Records that were read; from `at` on they are still to come.
    buffer: Vec<u8>,
    at: usize,
    pretoken: Vec<u8>,
    count: u64,
    /// The bytes of the pretokens so far, each as often as it was counted.
    num_counted_bytes: u128,
}

impl RunReader {
    pub(super) const BUFFER_BYTES: usize = 1 << 17;

    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] if it is no file of counts, of another version, truncated, or its header is
    /// damaged.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let num_bytes_of_file = file.metadata().map_err(Error::io(path))?.len();
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header).map_err(|error| cut_short(path, error))?;
        let field = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        let (version, rules_bytes) = (field(8) as u32, (field(8) >> 32) as u32);
        if header[..8] != MAGIC {
            return Err(Error::malformed(path, "not a file of counts; `cs336 tokenizer count` writes them"));
        }
        if version != VERSION {
            return Err(Error::malformed(
                path,
                format!("counts of version {version}, expected {VERSION}; count again"),
            ));
        }
        let (num_pretokens, num_bytes, records_bytes) = (field(16), field(24), field(32));
        let expected = u128::from(records_bytes) + u128::from(rules_bytes) + HEADER_BYTES as u128;
        if rules_bytes > MAX_RULES_BYTES || u128::from(num_bytes_of_file) != expected {
            let message = format!("{num_bytes_of_file} bytes long, its header says {expected}");
            return Err(Error::malformed(path, message + ": it is damaged; count again"));
        }
        let mut rules = vec![0; rules_bytes as usize];
        file.read_exact(&mut rules).map_err(|error| cut_short(path, error))?;
        if header_checksum(&header[..40], &rules) != field(40) {
            return Err(Error::malformed(path, "the checksum of the header is wrong: it is damaged; count again"));
        }
        let rules = serde_json::from_slice(&rules)
            .map_err(|error| Error::malformed(path, format!("the rules of counting: {error}")))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            summary: CountSummary { rules, num_pretokens, num_bytes },
            checksum: field(48),
            hash: Xxh3::new(),
            bytes_left: records_bytes,
            pretokens_left: num_pretokens,
            buffer: Vec::new(),
            at: 0,
            pretoken: Vec::new(),
            count: 0,
            num_counted_bytes: 0,
        })
    }

    pub(crate) fn summary(&self) -> &CountSummary {
        &self.summary
    }

    /// Goes on to the next pretoken; `false` after the last one.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Malformed`] for records that are not as they were written. Some of these errors come
    /// only at the end: nothing that was read may be relied upon before.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        if self.pretokens_left == 0 {
            let is_at_end = self.bytes_left == 0 && self.at == self.buffer.len();
            return if is_at_end && self.hash.digest() == self.checksum { Ok(false) } else { Err(self.damaged()) };
        }
        self.pretokens_left -= 1;
        let length = self.read_varint()?;
        let Ok(length) = usize::try_from(length) else { return Err(self.damaged()) };
        self.fill(length)?;
        let Some(next) = self.buffer[self.at..].get(..length).filter(|next| **next > self.pretoken[..]) else {
            return Err(self.damaged());
        };
        self.pretoken.clear();
        self.pretoken.extend_from_slice(next);
        self.at += length;
        self.count = self.read_varint()?;
        self.num_counted_bytes += length as u128 * u128::from(self.count);
        // With no more than that, no sum of counts can exceed 64 bits.
        let is_possible = self.count > 0 && self.num_counted_bytes <= u128::from(self.summary.num_bytes);
        if is_possible { Ok(true) } else { Err(self.damaged()) }
    }

    /// The pretoken last advanced to, and its count.
    pub(crate) fn current(&self) -> (&[u8], u64) {
        (&self.pretoken, self.count)
    }

    fn read_varint(&mut self) -> Result<u64> {
        self.fill(10)?;
        let mut value = 0_u64;
        for (index, &byte) in self.buffer[self.at..].iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7F);
            if index == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(self.damaged())
    }

    /// Sees to it that so many bytes are in the buffer, or all that are left.
    fn fill(&mut self, num_bytes: usize) -> Result<()> {
        if self.buffer.len() - self.at >= num_bytes || self.bytes_left == 0 {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let start = self.buffer.len();
        let wanted = num_bytes.max(Self::BUFFER_BYTES) as u64;
        // No more than the file holds, whatever length a damaged record tells.
        let wanted = wanted.min(self.bytes_left) as usize;
        self.buffer.try_reserve(wanted).map_err(|_| Error::OutOfMemory(wanted))?;
        self.buffer.resize(start + wanted, 0);
        self.file.read_exact(&mut self.buffer[start..]).map_err(|error| cut_short(&self.path, error))?;
        self.hash.update(&self.buffer[start..]);
        self.bytes_left -= wanted as u64;
        Ok(())
    }

    fn damaged(&self) -> Error {
        Error::malformed(&self.path, "its records are not those that were written: it is damaged; count again")
    }
}

fn cut_short(path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Error::malformed(path, "ends too early to be a file of counts: it is damaged; count again");
    }
    Error::io(path)(error)
}
