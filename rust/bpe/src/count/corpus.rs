//! Counting the pretokens of files and texts on all cores.

use std::path::Path;

use super::CountTable;
use crate::control::Control;
use crate::error::Result;
use crate::files::text::{TextFile, validated};
use crate::parallel;
use crate::split::cut::{Cutter, chunks};
use crate::split::{Pattern, Segment, SpecialTokens};

/// The bytes one worker counts between two looks at the control: some milliseconds.
const CHUNK_BYTES: usize = 1 << 20;

/// Adds the pretokens of a UTF-8 text file to `table`.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io), [`Error::Malformed`](crate::Error::Malformed) for invalid UTF-8,
/// [`Error::Interrupted`](crate::Error::Interrupted), and those of a regular expression.
pub(crate) fn count_file(
    table: &mut CountTable,
    path: &Path,
    pattern: &Pattern,
    specials: &SpecialTokens,
    num_threads: usize,
    control: &Control,
) -> Result<()> {
    let file = TextFile::open(path)?;
    let bytes = file.bytes();
    control.begin("count", bytes.len() as u64);
    let ranges = chunks(Cutter { pattern, specials }, bytes, CHUNK_BYTES);
    let tables = parallel::for_each_index(num_threads, ranges.len(), CountTable::new, |table, index| {
        control.check()?;
        let range = ranges[index].clone();
        let text = validated(path, bytes, range)?;
        count_text(table, text, pattern, specials)?;
        control.advance(text.len() as u64);
        Ok(())
    })?;
    table.merge_all(tables);
    Ok(())
}

/// Adds the pretokens of every text to `table`; each text stands for itself, nothing reaches from one into the next.
///
/// # Errors
/// [`Error::Interrupted`](crate::Error::Interrupted) and those of a regular expression.
pub(crate) fn count_texts<S: AsRef<str> + Sync>(
    table: &mut CountTable,
    texts: &[S],
    pattern: &Pattern,
    specials: &SpecialTokens,
    num_threads: usize,
    control: &Control,
) -> Result<()> {
    let pieces: Vec<&str> = texts
        .iter()
        .flat_map(|text| {
            let text = text.as_ref();
            let ranges = chunks(Cutter { pattern, specials }, text.as_bytes(), CHUNK_BYTES);
            ranges.into_iter().map(move |range| &text[range])
        })
        .collect();
    let tables = parallel::for_each_index(num_threads, pieces.len(), CountTable::new, |table, index| {
        control.check()?;
        count_text(table, pieces[index], pattern, specials)
    })?;
    table.merge_all(tables);
    Ok(())
}

fn count_text(table: &mut CountTable, text: &str, pattern: &Pattern, specials: &SpecialTokens) -> Result<()> {
    specials.for_each_segment(text, |segment| match segment {
        Segment::Special(_) => Ok(()),
        Segment::Text(offset, segment) => pattern.for_each_pretoken(segment, |range| {
            // Ranges into the whole text rather than the segment: more of them can be packed with a single load.
            table.add(text.as_bytes(), offset + range.start..offset + range.end, 1);
            Ok(())
        }),
    })
}
