//! A text file to ids in memory, or to a `.npy` file of ids in constant memory.

use std::path::Path;

use super::{CacheGuard, Recognised, Tokenizer};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::files::atomic::AtomicFile;
use crate::files::npy::NpyWriter;
use crate::files::text::TextFile;
use crate::memory::{append, reserve_by_guess};
use crate::parallel;
use crate::raw::zeroed::prefer_huge_pages;

/// The bytes that one worker encodes at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// The ids of a chunk.
#[derive(Default)]
struct Chunk {
    ids: Vec<u32>,
    num_special: u64,
}

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
    /// The ids of a UTF-8 text file, which is not held in memory: only its ids are.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and [`Error::Io`] and [`Error::Malformed`] (invalid UTF-8, a text that changes
    /// meanwhile) of the file.
    pub fn encode_text_file(
        &self,
        path: &Path,
        specials: &Recognised,
        num_threads: usize,
        control: &Control,
    ) -> Result<Vec<u32>> {
        let file = TextFile::open(path, control)?;
        control.begin("encode", file.len() as u64);
        let mut ids = Vec::new();
        reserve_by_guess(&mut ids, file.len() / 2 + 1); // what is not used is not touched
        prefer_huge_pages(&mut ids);
        if num_threads == 1 {
            let (mut cache, mut buffer) = (CacheGuard::new(self), Vec::new());
            for range in file.chunks(self.cutter(specials), CHUNK_BYTES) {
                let text = file.read(range, &mut buffer)?;
                self.encode_chunk(text, 0..text.len(), specials, cache.cache(), &mut ids, control)?;
            }
        } else {
            self.encode_chunks(&file, specials, num_threads, control, |chunk| append(&mut ids, &chunk.ids))?;
        }
        file.check_unchanged()?;
        Ok(ids)
    }

    /// Encodes the UTF-8 text file `src` into the one-dimensional array file `dst`. The file appears under its name
    /// only when it is complete and on disk.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), [`Error::InvalidArgument`] if both are the same file, and [`Error::Io`] and
    /// [`Error::Malformed`] (invalid UTF-8, a text that changes meanwhile) of the files.
    pub fn encode_file(&self, src: &Path, dst: &Path, num_threads: usize, control: &Control) -> Result<FileStats> {
        let file = TextFile::open(src, control)?;
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
        self.encode_chunks(&file, &self.specials, num_threads, control, |chunk| {
            stats.num_tokens += chunk.ids.len() as u64;
            stats.num_special_tokens += chunk.num_special;
            writer.write(&chunk.ids)
        })?;
        file.check_unchanged()?;
        writer.finish()?;
        Ok(stats)
    }

    /// Calls `consume` with the ids of each chunk of a file, in order.
    fn encode_chunks(
        &self,
        file: &TextFile<'_>,
        specials: &Recognised,
        num_threads: usize,
        control: &Control,
        consume: impl FnMut(&mut Chunk) -> Result<()> + Send,
    ) -> Result<()> {
        let ranges = file.chunks(self.cutter(specials), CHUNK_BYTES);
        parallel::for_each_in_order(
            num_threads,
            ranges.len(),
            || (CacheGuard::new(self), Vec::new()),
            |(cache, buffer), index, chunk: &mut Chunk| {
                control.check()?;
                let text = file.read(ranges[index].clone(), buffer)?;
                chunk.ids.clear();
                let all = 0..text.len();
                chunk.num_special = self.encode_chunk(text, all, specials, cache.cache(), &mut chunk.ids, control)?;
                Ok(())
            },
            consume,
        )
    }
}
