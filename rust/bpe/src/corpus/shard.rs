//! The ids of one split of a task, in shards of a fixed number of ids.
//!
//! A shard counts once its files are under their names, on disk, and its line is in the journal, in this order. Until
//! then it will be made again, with the same bytes.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ids::IdType;
use super::output::{CrashPoint, Journal, Output, Written};
use crate::error::{Error, Result};
use crate::files::{atomic::sync_directory, npy};

/// The parts that documents may be divided into, in the order of their index.
pub const SPLITS: [&str; 2] = ["train", "valid"];

/// A place between two ids: the input's index, the offset of a record in its decompressed bytes, and how many ids of
/// its document come before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position(pub u64, pub u64, pub u64);

/// What earlier runs have made of a split.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Committed {
    /// How many shards.
    pub shards: u64,
    /// Where the next one begins.
    pub next: Position,
}

/// What all shards of a task have in common.
#[derive(Debug)]
pub(super) struct ShardLayout {
    pub(super) directory: PathBuf,
    pub(super) task: u64,
    /// Tells the temporary files of several writers apart.
    pub(super) writer: String,
    pub(super) id_type: IdType,
    pub(super) tokens_per_shard: u64,
    pub(super) with_sources: bool,
}

/// A line of the journal.
#[derive(Debug, Serialize)]
struct ShardLine<'s> {
    kind: &'static str,
    task: u64,
    split: &'s str,
    shard: u64,
    file: &'s str,
    dtype: &'static str,
    tokens: u64,
    documents: u64,
    text_bytes: u64,
    greatest_id: Option<u32>,
    first: Position,
    next: Position,
    size_bytes: u64,
    blake3: String,
    ends_size_bytes: u64,
    ends_blake3: String,
    sources_size_bytes: u64,
    sources_blake3: Option<String>,
}

/// A document that is to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The first two numbers of its [`Position`].
    pub(super) place: (u64, u64),
    /// The input it comes from and where in it, for whoever asks.
    pub(super) source: [u64; 2],
    pub(super) text_bytes: u64,
}

/// Writes the shards of one split one after the other.
pub(super) struct ShardWriter<'t> {
    layout: &'t ShardLayout,
    split: &'static str,
    crash: &'t CrashPoint,
    shard: u64,
    /// Where the next id comes from.
    next: Position,
    open: Option<OpenShard<'t>>,
}

struct OpenShard<'t> {
    first: Position,
    ids: Output<'t>,
    ends: Output<'t>,
    sources: Option<Output<'t>>,
    tokens: u64,
    documents: u64,
    text_bytes: u64,
    greatest_id: Option<u32>,
}

impl<'t> ShardWriter<'t> {
    pub(super) fn new(
        layout: &'t ShardLayout,
        split: &'static str,
        committed: &Committed,
        crash: &'t CrashPoint,
    ) -> Self {
        Self { layout, split, crash, shard: committed.shards, next: committed.next, open: None }
    }

    /// Appends a document's ids, of which those that stand in committed shards are passed over.
    pub(super) fn push(&mut self, entry: Entry, ids: &[u8], journal: &Journal<'_>) -> Result<()> {
        while self.fill(entry, ids, journal)? {}
        Ok(())
    }

    /// Appends those of a document's ids that were not appended before, as many as the shard has room for; whether that
    /// is full now, and committed.
    pub(super) fn fill(&mut self, entry: Entry, ids: &[u8], journal: &Journal<'_>) -> Result<bool> {
        let (input, offset) = entry.place;
        let width = self.layout.id_type.width();
        let num_ids = ids.len() / width;
        let is_next = (self.next.0, self.next.1) == entry.place;
        let at = if is_next { self.next.2 as usize } else { 0 };
        if at >= num_ids {
            return Ok(false);
        }
        let open = if let Some(open) = &mut self.open {
            open
        } else {
            let first = Position(input, offset, at as u64);
            self.open.insert(OpenShard::create(self.layout, self.split, self.shard, first, self.crash)?)
        };
        let room = usize::try_from(self.layout.tokens_per_shard - open.tokens).unwrap_or(usize::MAX);
        let end = at + room.min(num_ids - at);
        open.write_ids(&ids[at * width..end * width], self.layout.id_type)?;
        if end == num_ids {
            open.end_document(entry)?;
        }
        let is_full = open.tokens == self.layout.tokens_per_shard;
        self.next = Position(input, offset, end as u64);
        if is_full {
            self.commit(journal)?;
        }
        Ok(is_full)
    }

    /// Commits the last shard, which need not be full.
    pub(super) fn finish(&mut self, journal: &Journal<'_>) -> Result<()> {
        if self.open.is_some() { self.commit(journal) } else { Ok(()) }
    }

    fn commit(&mut self, journal: &Journal<'_>) -> Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let written = open.finish(self.layout)?;
        let file = file_name(self.split, self.layout.task, self.shard, "npy");
        let line = ShardLine {
            kind: "shard",
            task: self.layout.task,
            split: self.split,
            shard: self.shard,
            file: &file,
            dtype: self.layout.id_type.name(),
            tokens: open.tokens,
            documents: open.documents,
            text_bytes: open.text_bytes,
            greatest_id: open.greatest_id,
            first: open.first,
            next: self.next,
            size_bytes: written.ids.size_bytes,
            blake3: written.ids.blake3,
            ends_size_bytes: written.ends.size_bytes,
            ends_blake3: written.ends.blake3,
            sources_size_bytes: written.sources.as_ref().map_or(0, |written| written.size_bytes),
            sources_blake3: written.sources.map(|written| written.blake3),
        };
        open.publish(&self.layout.directory, self.crash)?;
        journal.append(&line)?;
        self.shard += 1;
        Ok(())
    }
}

struct WrittenShard {
    ids: Written,
    ends: Written,
    sources: Option<Written>,
}

impl<'t> OpenShard<'t> {
    fn create(layout: &ShardLayout, split: &str, shard: u64, first: Position, crash: &'t CrashPoint) -> Result<Self> {
        let create = |suffix: &str, header: &[u8]| {
            let path = layout.directory.join(file_name(split, layout.task, shard, suffix));
            Output::create(&path, &layout.writer, header, crash)
        };
        Ok(Self {
            first,
            ids: create("npy", &ids_header(layout.id_type, layout.tokens_per_shard))?,
            ends: create("ends.npy", &ends_header(0))?,
            sources: layout.with_sources.then(|| create("sources.npy", &sources_header(0))).transpose()?,
            tokens: 0,
            documents: 0,
            text_bytes: 0,
            greatest_id: None,
        })
    }

    fn write_ids(&mut self, ids: &[u8], id_type: IdType) -> Result<()> {
        // What was just read to find the greatest is still at hand to be hashed and written.
        for part in ids.chunks(1 << 18) {
            self.greatest_id = self.greatest_id.max(id_type.greatest(part));
            self.ids.push(part)?;
        }
        self.tokens += (ids.len() / id_type.width()) as u64;
        Ok(())
    }

    fn end_document(&mut self, entry: Entry) -> Result<()> {
        self.documents += 1;
        self.text_bytes += entry.text_bytes;
        self.ends.push(&self.tokens.to_le_bytes())?;
        if let Some(sources) = &mut self.sources {
            for number in entry.source {
                sources.push(&number.to_le_bytes())?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, layout: &ShardLayout) -> Result<WrittenShard> {
        let documents = self.documents;
        Ok(WrittenShard {
            ids: self.ids.finish(&ids_header(layout.id_type, self.tokens))?,
            ends: self.ends.finish(&ends_header(documents))?,
            sources: self.sources.as_mut().map(|sources| sources.finish(&sources_header(documents))).transpose()?,
        })
    }

    fn publish(self, directory: &Path, crash: &CrashPoint) -> Result<()> {
        for output in [Some(self.ids), Some(self.ends), self.sources].into_iter().flatten() {
            output.publish()?;
        }
        crash.pass();
        sync_directory(&directory.join("any")).map_err(Error::io(directory))
    }
}

/// Removes the temporary files in a directory whose names begin so: those that a crash left behind.
pub(super) fn remove_temporary(directory: &Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(Error::io(directory))? {
        let entry = entry.map_err(Error::io(directory))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(prefix) && name.contains(".tmp.") {
            let _ = fs::remove_file(entry.path()); // it may be gone, and is in nobody's way
        }
    }
    Ok(())
}

fn file_name(split: &str, task: u64, shard: u64, suffix: &str) -> String {
    format!("{split}-{task:05}-{shard:05}.{suffix}")
}

fn ids_header(id_type: IdType, tokens: u64) -> [u8; 128] {
    npy::header(id_type.descr(), &format!("({tokens},)"))
}

fn ends_header(documents: u64) -> [u8; 128] {
    npy::header("<u8", &format!("({documents},)"))
}

fn sources_header(documents: u64) -> [u8; 128] {
    npy::header("<u8", &format!("({documents}, 2)"))
}
