//! Going through files and texts on all cores.

use std::sync::Mutex;

use crate::control::Control;
use crate::error::Result;
use crate::files::text::TextFile;
use crate::parallel;
use crate::split::cut::{Cutter, chunks};

/// The bytes one worker goes through between two looks at the control: some milliseconds.
const CHUNK_BYTES: usize = 1 << 20;

/// Calls `work` with a table and each chunk of a UTF-8 text file.
///
/// Each thread works on a table of its own. They are those of earlier calls and as many `new_table`s as there are
/// threads more: to merge them once in the end is less work than after every file.
///
/// # Errors
/// [`Error::Malformed`](crate::Error::Malformed) for invalid UTF-8, [`Error::Interrupted`](crate::Error::Interrupted),
/// and those of `work`.
#[allow(clippy::too_many_arguments, reason = "where from, how, and what to do")]
pub(crate) fn for_each_chunk<T: Send>(
    tables: &mut Vec<T>,
    new_table: impl Fn() -> T + Sync,
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
    new_table: impl Fn() -> T + Sync,
    texts: &[S],
    cutter: Cutter<'_>,
    num_threads: usize,
    control: &Control,
    work: impl Fn(&mut T, &str) -> Result<()> + Sync,
) -> Result<()> {
    let pieces: Vec<&str> = texts
        .iter()
        .flat_map(|text| {
            let text = text.as_ref();
            let ranges = chunks(cutter, text.as_bytes(), CHUNK_BYTES);
            ranges.into_iter().map(move |range| &text[range])
        })
        .collect();
    for_each_index(tables, new_table, pieces.len(), num_threads, |table, _, index| {
        control.check()?;
        work(table, pieces[index])
    })
}

fn for_each_index<T: Send>(
    tables: &mut Vec<T>,
    new_table: impl Fn() -> T + Sync,
    num_items: usize,
    num_threads: usize,
    work: impl Fn(&mut T, &mut Vec<u8>, usize) -> Result<()> + Sync,
) -> Result<()> {
    let idle = Mutex::new(std::mem::take(tables));
    let take_table = || idle.lock().expect("no panic while it is held").pop().unwrap_or_else(&new_table);
    let new_state = || (take_table(), Vec::new());
    let work = |(table, buffer): &mut (T, Vec<u8>), index| work(table, buffer, index);
    let used = parallel::for_each_index(num_threads, num_items, new_state, work)?;
    *tables = idle.into_inner().expect("no panic while it was held");
    tables.extend(used.into_iter().map(|(table, _)| table));
    Ok(())
}
