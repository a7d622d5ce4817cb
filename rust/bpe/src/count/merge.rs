//! Files of counts, added up side by side: the memory is that of their buffers, however large they are.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::path::Path;

use super::rules::CountRules;
use super::runs::RunReader;
use crate::control::Control;
use crate::error::{Error, Result};

/// A reader, by what it would hand out next; the least is the first out of a heap.
struct Head(Box<RunReader>);

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.current().0.cmp(self.0.current().0)
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// Opens files of counts by the same rules; the sum of the bytes that they were counted from, too.
///
/// # Errors
/// Those of [`RunReader::open`], [`Error::InvalidArgument`] for one by other rules, and for more than 64 bits of bytes.
pub(crate) fn open_all<P: AsRef<Path>>(paths: &[P], rules: &CountRules) -> Result<(Vec<RunReader>, u64)> {
    let mut num_bytes = 0_u64;
    let open = |path: &P| {
        let reader = RunReader::open(path.as_ref())?;
        rules.check_equal(path.as_ref(), &reader.summary().rules)?;
        num_bytes = num_bytes.checked_add(reader.summary().num_bytes).ok_or_else(too_much)?;
        Ok(reader)
    };
    let readers = paths.iter().map(open).collect::<Result<Vec<_>>>()?;
    Ok((readers, num_bytes))
}

/// Calls `visit` with every pretoken once, in ascending order, and the sum of its counts.
///
/// # Errors
/// Those of reading and of `visit`; [`Error::Interrupted`].
pub(crate) fn merge(
    readers: Vec<RunReader>,
    control: &Control,
    mut visit: impl FnMut(&[u8], u64) -> Result<()>,
) -> Result<()> {
    let mut heads = BinaryHeap::with_capacity(readers.len());
    for mut reader in readers {
        if reader.advance()? {
            heads.push(Head(Box::new(reader)));
        }
    }
    let mut pretoken = Vec::new();
    let mut num_visited = 0_u64;
    while let Some(head) = heads.peek() {
        pretoken.clear();
        pretoken.extend_from_slice(head.0.current().0);
        let mut sum = 0_u64;
        while let Some(mut head) = heads.peek_mut() {
            let (next, count) = head.0.current();
            if next != pretoken {
                break;
            }
            sum = sum.checked_add(count).ok_or_else(too_much)?;
            control.advance(1);
            if !head.0.advance()? {
                PeekMut::pop(head);
            }
        }
        if num_visited.is_multiple_of(1 << 12) {
            control.check()?;
        }
        num_visited += 1;
        visit(&pretoken, sum)?;
    }
    Ok(())
}

fn too_much() -> Error {
    Error::invalid(format!("the counts come to more than {} bytes of text; divide all weights by a constant", u64::MAX))
}
