//! A text without documents, from its beginning to its end, whatever it is compressed with.

use std::path::PathBuf;

use super::decompress::Decompressor;
use super::documents::{InvalidUtf8, Tally};
use super::source::Source;
use crate::error::{Error, Result};

const BLOCK_BYTES: usize = 1 << 18;

/// Reads text; what was read and not consumed is at hand.
pub(crate) struct TextStream {
    name: PathBuf,
    input: Decompressor,
    invalid_utf8: InvalidUtf8,
    text: String,
    /// The beginning of a character whose end was not read yet.
    incomplete: Vec<u8>,
    tally: Tally,
    file_bytes_told: u64,
}

impl TextStream {
    /// # Errors
    /// [`Error::Io`], and [`Error::Malformed`] if it is not compressed as it should be.
    pub(crate) fn open(source: &Source, invalid_utf8: InvalidUtf8) -> Result<Self> {
        Ok(Self {
            name: source.name(),
            input: Decompressor::open(source, 0)?,
            invalid_utf8,
            text: String::new(),
            incomplete: Vec::new(),
            tally: Tally { documents: 1, ..Tally::default() },
            file_bytes_told: 0,
        })
    }

    /// What was read and not consumed.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Reads until so many bytes are at hand; whether there may be more.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::OutOfMemory`]; [`Error::Malformed`] for damaged compression, and for what is not UTF-8
    /// unless it is replaced.
    pub(crate) fn fill(&mut self, num_bytes: usize) -> Result<bool> {
        self.text.try_reserve(num_bytes).map_err(|_| Error::OutOfMemory(num_bytes))?;
        let mut block = vec![0; BLOCK_BYTES];
        while self.text.len() < num_bytes {
            let start = self.incomplete.len();
            block[..start].copy_from_slice(&self.incomplete);
            self.incomplete.clear();
            let read = self.input.read(&mut block[start..])?;
            self.tally.record_bytes += read as u64;
            self.push(&block[..start + read], read == 0)?;
            if read == 0 {
                self.input.check_unchanged()?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn push(&mut self, bytes: &[u8], is_end: bool) -> Result<()> {
        if let Ok(text) = simdutf8::basic::from_utf8(bytes) {
            self.text.push_str(text);
            return Ok(());
        }
        for chunk in bytes.utf8_chunks() {
            self.text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            let is_last = invalid.as_ptr_range().end == bytes.as_ptr_range().end;
            let is_incomplete = std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if is_last && is_incomplete && !is_end {
                self.incomplete = invalid.to_vec();
            } else if self.invalid_utf8 == InvalidUtf8::Replace {
                self.text.push('\u{FFFD}');
                self.tally.repaired_documents = 1;
            } else {
                let rest = bytes.as_ptr_range().end as usize - invalid.as_ptr() as usize;
                let (offset, seen) = (self.tally.record_bytes - rest as u64, invalid[0]);
                return Err(Error::malformed(
                    &self.name,
                    format!(
                        "invalid UTF-8 at byte {offset} (0x{seen:02X}); expected UTF-8 text: convert the file, for example \
                         with `iconv -f ENCODING -t UTF-8`, or let it be replaced"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Drops the first bytes of what is at hand.
    pub(crate) fn consume(&mut self, num_bytes: usize) {
        self.tally.text_bytes += num_bytes as u64;
        self.text.drain(..num_bytes);
    }

    /// How many bytes of the file were used since this was last asked.
    pub(crate) fn file_bytes(&mut self) -> u64 {
        let used = self.input.offset() - self.file_bytes_told;
        self.file_bytes_told += used;
        used
    }

    /// What became of the bytes: all of it is one document.
    pub(crate) fn tally(&self) -> Tally {
        let is_empty = self.tally.text_bytes == 0 && self.text.is_empty();
        Tally { documents: u64::from(!is_empty), ..self.tally }
    }
}
