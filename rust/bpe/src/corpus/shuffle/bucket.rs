//! Documents by ranges of their keys, in a file each: what is in one of them fits into memory.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::super::output::CrashPoint;
use super::key::bucket_of;
use crate::error::{Error, Result};

/// Collected before it is written to a bucket's file.
const BUFFER_BYTES: usize = 64 << 10;
/// What stands before the ids of a document: five numbers of 64 bits.
pub(super) const HEADER_BYTES: usize = 40;

/// What is in a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BucketSummary {
    pub(super) tokens: u64,
    pub(super) documents: u64,
    size_bytes: u64,
    xxh3: u64,
}

/// A document in a bucket; its ids stand elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) key: u64,
    pub(super) ids_bytes: u64,
    pub(super) text_bytes: u64,
    pub(super) source: [u64; 2],
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [input, place] = self.source;
        let numbers = [self.key, self.ids_bytes, self.text_bytes, input, place].map(u64::to_le_bytes);
        let mut bytes = [0; HEADER_BYTES];
        bytes.copy_from_slice(numbers.as_flattened());
        bytes
    }

    fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Self {
        let number = |index: usize| u64::from_le_bytes(bytes.as_chunks().0[index]);
        Self { key: number(0), ids_bytes: number(1), text_bytes: number(2), source: [number(3), number(4)] }
    }
}

/// Buckets that are being filled, by any number of threads. Their files are opened for each write: there may be more of
/// them than a process may hold open.
pub(super) struct Buckets<'c> {
    directory: PathBuf,
    filling: Vec<Mutex<Filling>>,
    width: u64,
    crash: &'c CrashPoint,
}

#[derive(Default)]
struct Filling {
    buffer: Vec<u8>,
    hash: Xxh3,
    summary: BucketSummary,
}

impl<'c> Buckets<'c> {
    /// Empty ones; `width` is that of an id.
    pub(super) fn create(directory: &Path, num_buckets: usize, width: usize, crash: &'c CrashPoint) -> Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(directory).map_err(Error::io(directory))?; // of a run that was cut off
        }
        fs::create_dir_all(directory).map_err(Error::io(directory))?;
        let filling = (0..num_buckets).map(|_| Mutex::default()).collect();
        Ok(Self { directory: directory.to_owned(), filling, width: width as u64, crash })
    }

    /// Adds a document to the bucket of its key. In which order they come there does not matter.
    pub(super) fn push(&self, header: Header, ids: &[u8]) -> Result<()> {
        let index = bucket_of(header.key, self.filling.len());
        let mut filling = self.filling[index].lock().unwrap_or_else(PoisonError::into_inner);
        filling.buffer.extend_from_slice(&header.to_bytes());
        filling.buffer.extend_from_slice(ids);
        filling.summary.tokens += ids.len() as u64 / self.width;
        filling.summary.documents += 1;
        if filling.buffer.len() >= BUFFER_BYTES { self.flush(index, &mut filling) } else { Ok(()) }
    }

    fn flush(&self, index: usize, filling: &mut Filling) -> Result<()> {
        self.crash.pass();
        let path = path_of(&self.directory, index);
        let size_bytes = filling.buffer.len() as u64;
        let written = OpenOptions::new().create(true).append(true).open(&path);
        let written = written.and_then(|mut file| file.write_all(&filling.buffer));
        written.map_err(Error::write(&path, size_bytes))?;
        filling.hash.update(&filling.buffer);
        filling.summary.size_bytes += size_bytes;
        filling.buffer = Vec::new();
        Ok(())
    }

    /// Writes the rest, safely to disk, and tells what there is.
    pub(super) fn finish(self) -> Result<Vec<BucketSummary>> {
        let mut summaries = Vec::with_capacity(self.filling.len());
        for (index, filling) in self.filling.iter().enumerate() {
            let mut filling = filling.lock().unwrap_or_else(PoisonError::into_inner);
            self.flush(index, &mut filling)?;
            let path = path_of(&self.directory, index);
            File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io(&path))?;
            filling.summary.xxh3 = filling.hash.digest();
            summaries.push(filling.summary);
        }
        Ok(summaries)
    }
}

fn path_of(directory: &Path, index: usize) -> PathBuf {
    directory.join(format!("{index:05}.bucket"))
}

/// A bucket in memory, its documents in the order of their keys.
pub(super) struct LoadedBucket {
    content: Vec<u8>,
    /// Where the ids of a document begin.
    documents: Vec<(Header, usize)>,
}

impl LoadedBucket {
    /// # Errors
    /// [`Error::Io`], [`Error::OutOfMemory`]; [`Error::Malformed`] if it is not what was written.
    pub(super) fn load(directory: &Path, index: usize, summary: &BucketSummary) -> Result<Self> {
        let path = path_of(directory, index);
        let size_bytes = usize::try_from(summary.size_bytes).unwrap_or(usize::MAX);
        let mut content = Vec::new();
        content.try_reserve_exact(size_bytes).map_err(|_| Error::OutOfMemory(size_bytes))?;
        let read = File::open(&path).and_then(|mut file| std::io::Read::read_to_end(&mut file, &mut content));
        read.map_err(Error::io(&path))?;
        let damaged = || {
            let directory = directory.display();
            Error::malformed(&path, format!("is not what was written to it; remove {directory} and run again"))
        };
        if content.len() != size_bytes || xxh3_64(&content) != summary.xxh3 {
            return Err(damaged());
        }
        let mut documents = Vec::with_capacity(summary.documents as usize);
        let mut at = 0;
        while let Some(header) = content[at..].first_chunk() {
            let header = Header::from_bytes(header);
            documents.push((header, at + HEADER_BYTES));
            at += HEADER_BYTES + header.ids_bytes as usize;
            if at > content.len() {
                return Err(damaged());
            }
        }
        documents.sort_unstable_by_key(|(header, _)| header.key);
        Ok(Self { content, documents })
    }

    /// Each document and its ids, by key.
    pub(super) fn documents(&self) -> impl Iterator<Item = (&Header, &[u8])> {
        self.documents.iter().map(|(header, start)| (header, &self.content[*start..*start + header.ids_bytes as usize]))
    }
}
