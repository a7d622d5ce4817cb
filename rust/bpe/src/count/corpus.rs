//! Counting the pretokens of files and texts on all cores.

use std::path::Path;
use std::sync::Mutex;

use super::CountTable;
use super::table::Counter;
use crate::control::Control;
use crate::error::Result;
use crate::files::text::{TextFile, validated};
use crate::parallel;
use crate::split::cut::{Cutter, chunks};
use crate::split::{Pattern, Segment, SpecialTokens};

/// The bytes one worker counts between two looks at the control: some milliseconds.
const CHUNK_BYTES: usize = 1 << 20;

/// Adds the pretokens of a UTF-8 text file, each `weight` times, to `tables`, of which each thread has its own.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io), [`Error::Malformed`](crate::Error::Malformed) for invalid UTF-8,
/// [`Error::Interrupted`](crate::Error::Interrupted), and those of a regular expression.
pub(crate) fn count_file(
    tables: &mut Vec<CountTable>,
    path: &Path,
    weight: u64,
    cutter: Cutter<'_>,
    num_threads: usize,
    control: &Control,
) -> Result<()> {
    let file = TextFile::open(path)?;
    let bytes = file.bytes();
    control.begin("count", bytes.len() as u64);
    let ranges = chunks(cutter, bytes, CHUNK_BYTES);
    count_all(tables, ranges.len(), num_threads, |table, index| {
        control.check()?;
        let range = ranges[index].clone();
        file.populate(range.clone());
        let text = validated(path, bytes, range.clone())?;
        count_text(table, text, weight, cutter.pattern, cutter.specials)?;
        file.release(range);
        control.advance(text.len() as u64);
        Ok(())
    })
}

/// Adds the pretokens of every text, each `weight` times, to `tables`; each text stands for itself, nothing reaches
/// from one into the next.
///
/// # Errors
/// [`Error::Interrupted`](crate::Error::Interrupted) and those of a regular expression.
pub(crate) fn count_texts<S: AsRef<str> + Sync>(
    tables: &mut Vec<CountTable>,
    texts: &[S],
    weight: u64,
    cutter: Cutter<'_>,
    num_threads: usize,
    control: &Control,
) -> Result<()> {
    let pieces: Vec<&str> = texts
        .iter()
        .flat_map(|text| {
            let text = text.as_ref();
            let ranges = chunks(cutter, text.as_bytes(), CHUNK_BYTES);
            ranges.into_iter().map(move |range| &text[range])
        })
        .collect();
    count_all(tables, pieces.len(), num_threads, |table, index| {
        control.check()?;
        count_text(table, pieces[index], weight, cutter.pattern, cutter.specials)
    })
}

/// Runs `count(table, index)` for every index below `num_items`. The tables are those of earlier calls and as many
/// more as there are threads: merging them once at the end is less work than after every file or batch of texts.
fn count_all(
    tables: &mut Vec<CountTable>,
    num_items: usize,
    num_threads: usize,
    count: impl Fn(&mut CountTable, usize) -> Result<()> + Sync,
) -> Result<()> {
    let idle = Mutex::new(std::mem::take(tables));
    let take_table = || idle.lock().expect("no panic while it is held").pop().unwrap_or_else(CountTable::new);
    let used = parallel::for_each_index(num_threads, num_items, take_table, count)?;
    *tables = idle.into_inner().expect("no panic while it was held");
    tables.extend(used);
    Ok(())
}

fn count_text(
    table: &mut CountTable,
    text: &str,
    weight: u64,
    pattern: &Pattern,
    specials: &SpecialTokens,
) -> Result<()> {
    let mut counter = Counter::new(table, weight);
    specials.for_each_segment(text, |segment| match segment {
        Segment::Special(_) => Ok(()),
        Segment::Text(offset, segment) => pattern.for_each_pretoken(segment, |range| {
            // Ranges into the whole text rather than the segment: more of them can be packed with a single load.
            counter.add(text.as_bytes(), offset + range.start..offset + range.end);
            Ok(())
        }),
    })
}
