//! Going through files and texts on all cores.

use std::sync::Mutex;

use crate::control::Control;
use crate::error::Result;
use crate::files::text::TextFile;
use crate::split::cut::{Cutter, chunks};
use crate::{memory, parallel};

/// The bytes one worker goes through between two looks at the control: some milliseconds.
const CHUNK_BYTES: usize = 1 << 20;

/// Calls `work` with a table and each chunk of a UTF-8 text file.
///
/// Each thread works on a table of its own. They are those of earlier calls and as many `new_table`s as there are
/// threads more: to merge them once in the end is less work than after every file.
///
/// # Errors
/// [`Error::Malformed`](crate::Error::Malformed) for invalid UTF-8, [`Error::Interrupted`](crate::Error::Interrupted),
/// those of `new_table` and of `work`.
#[allow(clippy::too_many_arguments, reason = "where from, how, and what to do")]
pub(crate) fn for_each_chunk<T: Send>(
    tables: &mut Vec<T>,
    new_table: impl Fn() -> Result<T> + Sync,
    file: &TextFile<'_>,
    cutter: Cutter<'_>,
    num_threads: usize,
    control: &Control,
    work: impl Fn(&mut T, &str) -> Result<()> + Sync,
) -> Result<()> {
    control.begin("count", file.len() as u64);
    let ranges = file.chunks(cutter, CHUNK_BYTES);
    for_each_index(tables, new_table, ranges.len(), num_threads, |table, buffer, index| {
        control.check()?;
        let text = file.read(ranges[index].clone(), buffer)?;
        work(table, text)?;
        control.advance(text.len() as u64);
        Ok(())
    })?;
    file.check_unchanged()
}

/// Calls `work` with a table and each piece of each text. Each text stands for itself: nothing reaches from one into
/// the next. As for the tables and errors see [`for_each_chunk`].
pub(crate) fn for_each_piece<T: Send, S: AsRef<str> + Sync>(
    tables: &mut Vec<T>,
    new_table: impl Fn() -> Result<T> + Sync,
    texts: &[S],
    cutter: Cutter<'_>,
    num_threads: usize,
    control: &Control,
    work: impl Fn(&mut T, &str) -> Result<()> + Sync,
) -> Result<()> {
    let mut pieces: Vec<&str> = memory::with_capacity(texts.len())?;
    for text in texts {
        let text = text.as_ref();
        for range in chunks(cutter, text.as_bytes(), CHUNK_BYTES) {
            memory::push(&mut pieces, &text[range])?;
        }
    }
    for_each_index(tables, new_table, pieces.len(), num_threads, |table, _, index| {
        control.check()?;
        work(table, pieces[index])
    })
}

fn for_each_index<T: Send>(
    tables: &mut Vec<T>,
    new_table: impl Fn() -> Result<T> + Sync,
    num_items: usize,
    num_threads: usize,
    work: impl Fn(&mut T, &mut Vec<u8>, usize) -> Result<()> + Sync,
) -> Result<()> {
    let idle = Mutex::new(std::mem::take(tables));
    let take_table = || idle.lock().expect("no panic while it is held").pop();
    let new_state = || (take_table(), Vec::new());
    let work = |(table, buffer): &mut (Option<T>, Vec<u8>), index| {
        let table = match table {
            Some(table) => table,
            None => table.insert(new_table()?),
        };
        work(table, buffer, index)
    };
    let used = parallel::for_each_index(num_threads, num_items, new_state, work)?;
    *tables = idle.into_inner().expect("no panic while it was held");
    tables.extend(used.into_iter().filter_map(|(table, _)| table));
    Ok(())
}
