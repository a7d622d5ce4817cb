//! The ids of one split of a task, in shards of a fixed number of ids.
//!
//! A shard counts once its files are under their names, on disk, and its line is in the journal, in this order. Until
//! then it will be made again, with the same bytes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

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
    /// Whether every id of the vocabulary fits into 16 bits.
    pub(super) is_narrow: bool,
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
    pub(super) input: u64,
    pub(super) offset: u64,
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
    pub(super) fn push(&mut self, entry: Entry, ids: &[u32], journal: &mut Journal<'_>) -> Result<()> {
        let is_next = (self.next.0, self.next.1) == (entry.input, entry.offset);
        let mut at = if is_next { self.next.2 as usize } else { 0 };
        while at < ids.len() {
            let open = if let Some(open) = &mut self.open {
                open
            } else {
                let first = Position(entry.input, entry.offset, at as u64);
                self.open.insert(OpenShard::create(self.layout, self.split, self.shard, first, self.crash)?)
            };
            let room = (self.layout.tokens_per_shard - open.tokens) as usize;
            let length = room.min(ids.len() - at);
            open.write_ids(&ids[at..at + length], self.layout.is_narrow)?;
            at += length;
            if at == ids.len() {
                open.end_document(entry)?;
            }
            let is_full = open.tokens == self.layout.tokens_per_shard;
            self.next = Position(entry.input, entry.offset, at as u64);
            if is_full {
                self.commit(journal)?;
            }
        }
        Ok(())
    }

    /// Commits the last shard, which need not be full.
    pub(super) fn finish(&mut self, journal: &mut Journal<'_>) -> Result<()> {
        if self.open.is_some() { self.commit(journal) } else { Ok(()) }
    }

    fn commit(&mut self, journal: &mut Journal<'_>) -> Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let written = open.finish(self.layout)?;
        let file = file_name(self.split, self.layout.task, self.shard, "npy");
        let line = ShardLine {
            kind: "shard",
            task: self.layout.task,
            split: self.split,
            shard: self.shard,
            file: &file,
            dtype: if self.layout.is_narrow { "uint16" } else { "uint32" },
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
            ids: create("npy", &ids_header(layout.is_narrow, layout.tokens_per_shard))?,
            ends: create("ends.npy", &ends_header(0))?,
            sources: layout.with_sources.then(|| create("sources.npy", &sources_header(0))).transpose()?,
            tokens: 0,
            documents: 0,
            text_bytes: 0,
            greatest_id: None,
        })
    }

    fn write_ids(&mut self, ids: &[u32], is_narrow: bool) -> Result<()> {
        for part in ids.chunks(1 << 18) {
            let greatest = part.iter().copied().max();
            self.greatest_id = self.greatest_id.max(greatest);
            let buffer = self.ids.buffer();
            if is_narrow {
                if let Some(id) = greatest.filter(|id| *id > u32::from(u16::MAX)) {
                    return Err(Error::invalid(format!("id {id} does not fit into uint16, the type of this corpus")));
                }
                buffer.extend(part.iter().flat_map(|id| (*id as u16).to_le_bytes()));
            } else {
                buffer.extend(part.iter().flat_map(|id| id.to_le_bytes()));
            }
            self.ids.flush_if_full()?;
        }
        self.tokens += ids.len() as u64;
        Ok(())
    }

    fn end_document(&mut self, entry: Entry) -> Result<()> {
        self.documents += 1;
        self.text_bytes += entry.text_bytes;
        self.ends.push(&self.tokens.to_le_bytes())?;
        if let Some(sources) = &mut self.sources {
            sources.push(&entry.input.to_le_bytes())?;
            sources.push(&entry.offset.to_le_bytes())?;
        }
        Ok(())
    }

    fn finish(&mut self, layout: &ShardLayout) -> Result<WrittenShard> {
        let documents = self.documents;
        Ok(WrittenShard {
            ids: self.ids.finish(&ids_header(layout.is_narrow, self.tokens))?,
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

fn file_name(split: &str, task: u64, shard: u64, suffix: &str) -> String {
    format!("{split}-{task:05}-{shard:05}.{suffix}")
}

fn ids_header(is_narrow: bool, tokens: u64) -> [u8; 128] {
    npy::header(if is_narrow { "<u2" } else { "<u4" }, &format!("({tokens},)"))
}

fn ends_header(documents: u64) -> [u8; 128] {
    npy::header("<u8", &format!("({documents},)"))
}

fn sources_header(documents: u64) -> [u8; 128] {
    npy::header("<u8", &format!("({documents}, 2)"))
}
