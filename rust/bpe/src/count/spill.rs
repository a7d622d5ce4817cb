//! Tables that go to disk, in order, before they become too large.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::rules::CountRules;
use super::runs::RunWriter;
use super::table::CountTable;
use crate::error::{Error, Result};
use crate::memory::{append, push, with_capacity};
use crate::word_key;

/// Where tables are written to; a directory of its own that is removed in the end.
#[derive(Debug)]
pub(crate) struct SpillDirectory {
    path: PathBuf,
    rules: CountRules,
    num_files: AtomicU64,
}

impl SpillDirectory {
    /// Makes it beside the file that the counts will be in: the disk that has room for that has room for this.
    pub(crate) fn create(destination: &Path, rules: CountRules) -> Result<Self> {
        static NUM_CREATED: AtomicU64 = AtomicU64::new(0);
        let Some(name) = destination.file_name() else {
            return Err(Error::invalid(format!("{} does not name a file", destination.display())));
        };
        let number = NUM_CREATED.fetch_add(1, Ordering::Relaxed);
        let path = destination.with_file_name(format!(".{}.spill.tmp.{}.{number}", name.display(), std::process::id()));
        std::fs::create_dir(&path).map_err(Error::io(destination))?;
        Ok(Self { path, rules, num_files: AtomicU64::new(0) })
    }

    /// The name of a file that is still to be written.
    pub(crate) fn next_path(&self) -> PathBuf {
        self.path.join(format!("{:06}.counts", self.num_files.fetch_add(1, Ordering::Relaxed)))
    }

    /// Whether it is one of our own files, to be removed once it is added to others.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        path.parent() == Some(&self.path)
    }
}

impl Drop for SpillDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path); // nobody is left to tell
    }
}

/// What one thread has counted: the last of it in memory, the rest in files.
#[derive(Debug)]
pub(crate) struct SpillingTable {
    pub(crate) table: CountTable,
    pub(crate) runs: Vec<PathBuf>,
}

impl SpillingTable {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { table: CountTable::new()?, runs: Vec::new() })
    }

    /// Writes the table to a file and begins anew if it may take more than `limit_bytes` by the next time.
    pub(crate) fn spill_if_large(&mut self, limit_bytes: u64, directory: &SpillDirectory) -> Result<()> {
        if self.table.bytes_to_grow() as u64 <= limit_bytes { Ok(()) } else { self.spill(directory) }
    }

    pub(crate) fn spill(&mut self, directory: &SpillDirectory) -> Result<()> {
        if self.table.len() == 0 {
            return Ok(());
        }
        let path = directory.next_path();
        let mut writer = RunWriter::create(&path, &directory.rules)?;
        let mut num_bytes = 0;
        for_each_in_order(&[std::mem::replace(&mut self.table, CountTable::new()?)], |pretoken, count| {
            // The counts were checked when the text was: they come to no more than its bytes.
            num_bytes += pretoken.len() as u64 * count;
            writer.push(pretoken, count)
        })?;
        writer.finish(num_bytes)?;
        self.runs.push(path);
        Ok(())
    }
}

/// Calls `visit` with every pretoken of some tables, none of which is in two of them, in the order of their bytes.
///
/// # Errors
/// Those of `visit`.
pub(crate) fn for_each_in_order(tables: &[CountTable], mut visit: impl FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
    // Packed the other way round, keys compare as their bytes do.
    let mut short: Vec<(u128, u64)> = with_capacity(tables.iter().map(CountTable::len).sum())?;
    let mut long: Vec<(Range<usize>, u64)> = Vec::new();
    let mut long_bytes: Vec<u8> = Vec::new();
    for table in tables {
        table.for_each(|pretoken, count| {
            if let Some(key) = word_key::pack(pretoken, &(0..pretoken.len())) {
                short.push((key.swap_bytes(), count));
            } else {
                let start = long_bytes.len();
                append(&mut long_bytes, pretoken)?;
                push(&mut long, (start..long_bytes.len(), count))?;
            }
            Ok(())
        })?;
    }
    short.sort_unstable_by_key(|&(key, _)| key);
    long.sort_unstable_by(|(one, _), (other, _)| long_bytes[one.clone()].cmp(&long_bytes[other.clone()]));
    let mut long = long.into_iter().peekable();
    for (key, count) in short {
        let (bytes, length) = word_key::unpack(key.swap_bytes());
        while let Some((range, count)) = long.next_if(|(range, _)| long_bytes[range.clone()] < bytes[..length]) {
            visit(&long_bytes[range], count)?;
        }
        visit(&bytes[..length], count)?;
    }
    long.try_for_each(|(range, count)| visit(&long_bytes[range], count))
}
