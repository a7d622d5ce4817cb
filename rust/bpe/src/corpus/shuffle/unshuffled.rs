//! The documents of a split in the order they were written in, shard by shard.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};

/// The header of an array; that of our shards has this length.
const HEADER_BYTES: usize = 128;
const BLOCK_BYTES: usize = 1 << 20;

/// A shard as its line in a journal tells of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnshuffledShard {
    /// Its ids.
    pub file: PathBuf,
    /// Where its documents end.
    pub ends_file: PathBuf,
    /// Where they come from, if that is wanted.
    pub sources_file: Option<PathBuf>,
    /// How many ids.
    pub tokens: u64,
    /// How many documents end in it.
    pub documents: u64,
    /// Of its ids' file.
    pub blake3: String,
}

/// Calls `visit` with the ids and the source of each document that ends in a shard. It may have begun in one of
/// `earlier`, the shards before.
///
/// # Errors
/// [`Error::Io`]; [`Error::Malformed`] for a shard that is not what its line says; those of `visit`.
pub(super) fn for_each_document(
    shard: &UnshuffledShard,
    earlier: &[UnshuffledShard],
    width: usize,
    mut visit: impl FnMut(&[u8], [u64; 2]) -> Result<()>,
) -> Result<()> {
    let mut ids = IdReader::open(&shard.file, head(earlier, width)?)?;
    let mut ends = Numbers::open(&shard.ends_file)?;
    let mut sources = shard.sources_file.as_deref().map(Numbers::open).transpose()?;
    let (mut start, mut begun) = (0, ids.pending.len());
    for _ in 0..shard.documents {
        let end = ends.next()?;
        if end < start || end > shard.tokens {
            return Err(changed(&shard.ends_file));
        }
        let length = std::mem::take(&mut begun) + (end - start) as usize * width;
        let source = match &mut sources {
            Some(sources) => [sources.next()?, sources.next()?],
            None => [0, 0],
        };
        visit(ids.take(length)?, source)?;
        start = end;
    }
    if ids.finish()? == shard.blake3 { Ok(()) } else { Err(changed(&shard.file)) }
}

/// The ids of the document that goes on in the shard after these.
fn head(shards: &[UnshuffledShard], width: usize) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let last = shards.iter().rposition(|shard| shard.documents > 0).unwrap_or(0);
    for shard in &shards[last..] {
        let begin = if shard.documents == 0 {
            0
        } else {
            let mut ends = Numbers::open(&shard.ends_file)?;
            ends.skip(shard.documents - 1)?;
            ends.next()?
        };
        let mut file = File::open(&shard.file).map_err(Error::io(&shard.file))?;
        let at = SeekFrom::Start(HEADER_BYTES as u64 + begin * width as u64);
        file.seek(at).and_then(|_| file.read_to_end(&mut head)).map_err(Error::io(&shard.file))?;
    }
    Ok(head)
}

/// Reads the ids of a shard from its beginning to its end, and hashes the file as it does.
struct IdReader<'s> {
    path: &'s Path,
    file: File,
    hasher: blake3::Hasher,
    /// Ids that were read; from `at` on they are still to be taken.
    pending: Vec<u8>,
    at: usize,
}

impl<'s> IdReader<'s> {
    /// `head` comes before what is in the file.
    fn open(path: &'s Path, head: Vec<u8>) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header).map_err(|_| changed(path))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header);
        Ok(Self { path, file, hasher, pending: head, at: 0 })
    }

    fn take(&mut self, num_bytes: usize) -> Result<&[u8]> {
        while self.pending.len() - self.at < num_bytes {
            if self.read_block()? == 0 {
                return Err(changed(self.path));
            }
        }
        self.at += num_bytes;
        Ok(&self.pending[self.at - num_bytes..self.at])
    }

    fn read_block(&mut self) -> Result<usize> {
        self.pending.drain(..std::mem::take(&mut self.at));
        let filled = self.pending.len();
        self.pending.try_reserve(BLOCK_BYTES).map_err(|_| Error::OutOfMemory(filled + BLOCK_BYTES))?;
        self.pending.resize(filled + BLOCK_BYTES, 0);
        let read = loop {
            match self.file.read(&mut self.pending[filled..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                result => break result.map_err(Error::io(self.path)),
            }
        };
        self.pending.truncate(filled + *read.as_ref().unwrap_or(&0));
        self.hasher.update(&self.pending[filled..]);
        read
    }

    /// Reads what is left, of a document that ends elsewhere; the hash of the whole file.
    fn finish(mut self) -> Result<String> {
        self.at = self.pending.len();
        while self.read_block()? > 0 {
            self.at = self.pending.len();
        }
        Ok(self.hasher.finalize().to_hex().to_string())
    }
}

/// Reads an array of 64-bit numbers.
struct Numbers<'s> {
    path: &'s Path,
    file: BufReader<File>,
}

impl<'s> Numbers<'s> {
    fn open(path: &'s Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let mut numbers = Self { path, file: BufReader::with_capacity(1 << 16, file) };
        numbers.file.seek(SeekFrom::Start(HEADER_BYTES as u64)).map_err(Error::io(path))?;
        Ok(numbers)
    }

    fn skip(&mut self, count: u64) -> Result<()> {
        let at = SeekFrom::Start(HEADER_BYTES as u64 + 8 * count);
        self.file.seek(at).map(drop).map_err(Error::io(self.path))
    }

    fn next(&mut self) -> Result<u64> {
        let mut number = [0; 8];
        self.file.read_exact(&mut number).map_err(|_| changed(self.path))?;
        Ok(u64::from_le_bytes(number))
    }
}

fn changed(path: &Path) -> Error {
    let journals = path.parent().map(|stage| stage.join("journal")).unwrap_or_default();
    Error::malformed(
        path,
        format!(
            "has changed since it was written; remove the journal of its task, the file in {} with the task's number, and \
             run again",
            journals.display()
        ),
    )
}
