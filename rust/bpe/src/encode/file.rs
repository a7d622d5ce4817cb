//! A text file to a `.npy` file of ids, in constant memory.

use std::path::Path;

use super::{CacheGuard, Tokenizer};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::files::atomic::AtomicFile;
use crate::files::npy::NpyWriter;
use crate::files::text::TextFile;
use crate::parallel;

/// The bytes that one worker encodes at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// The chunks, for each thread, that are encoded before they are written together.
const CHUNKS_PER_THREAD: usize = 4;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStats {
    /// Ids written.
    pub num_tokens: u64,
    /// Bytes of text read.
    pub num_bytes: u64,
    /// How many of the ids are special tokens.
    pub num_special_tokens: u64,
    /// The element type of the file: `"uint16"` if every id of the vocabulary fits, else `"uint32"`.
    pub dtype: &'static str,
}

impl Tokenizer {
    /// Encodes the UTF-8 text file `src` into the one-dimensional array file `dst`. The file appears under its name
    /// only when it is complete and on disk.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), [`Error::InvalidArgument`] if both are the same file, and [`Error::Io`] and
    /// [`Error::Malformed`] (invalid UTF-8, a text that changes meanwhile) of the files.
    pub fn encode_file(&self, src: &Path, dst: &Path, num_threads: usize, control: &Control) -> Result<FileStats> {
        let file = TextFile::open(src)?;
        if src.canonicalize().ok().is_some_and(|src| dst.canonicalize().ok() == Some(src)) {
            return Err(Error::invalid(format!(
                "{} is both what to encode and where to write; name another file for the ids",
                src.display()
            )));
        }
        let is_narrow = self.vocab_size() <= 1 << 16;
        let mut stats = FileStats {
            num_tokens: 0,
            num_bytes: file.len() as u64,
            num_special_tokens: 0,
            dtype: if is_narrow { "uint16" } else { "uint32" },
        };
        control.begin("encode", stats.num_bytes);
        let mut writer = NpyWriter::create(AtomicFile::create(dst)?, is_narrow)?;
        let ranges = file.chunks(self.cutter(&self.specials), CHUNK_BYTES);
        for window in ranges.chunks(num_threads.clamp(1, parallel::MAX_THREADS) * CHUNKS_PER_THREAD) {
            let parts = parallel::map(
                num_threads,
                window.len(),
                || (CacheGuard::new(self), Vec::new()),
                |(cache, buffer), index| {
                    control.check()?;
                    let text = file.read(window[index].clone(), buffer)?;
                    let mut ids = Vec::new();
                    let num_special =
                        self.encode_chunk(text, 0..text.len(), &self.specials, cache.cache(), &mut ids, control)?;
                    Ok((ids, num_special))
                },
            )?;
            for (ids, num_special) in parts {
                writer.write(&ids)?;
                stats.num_tokens += ids.len() as u64;
                stats.num_special_tokens += num_special;
            }
        }
        file.check_unchanged()?;
        writer.finish()?;
        Ok(stats)
    }
}
