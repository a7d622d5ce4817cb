//! The rank of the merge of two symbols.
//!
//! What a processor has close at hand is small: 1 MiB, of which other tables want their part, and what lies farther off
//! takes 30 times as long. So a merge takes eight bytes here, both symbols and the rank, and eight merges stand on a
//! cache line, which are compared at once: one line is all that an answer waits for, and no branch depends on it.

#![allow(clippy::inline_always)] // to be compiled for the kind of processor that the caller is compiled for

use rustc_hash::FxHashMap;

use crate::error::{Error, Result};
use crate::memory;
use crate::raw::zeroed::{CacheLines, Zeroed};

/// No merge: greater than every rank.
pub(super) const NONE: u32 = u32::MAX;

/// The merges on a cache line.
const LINE: usize = 8;
/// The bits of a symbol and of a rank in a line.
const BITS: u32 = 20;
/// Set where a merge stands.
const USED: u64 = 1 << 63;
/// In the last merge on a line: there were more of them.
const HAS_OTHERS: u64 = 1;

/// Ranks by the pair that merges.
#[derive(Debug)]
pub(super) struct PairRanks {
    /// Each merge is on the line that its hash says: [`USED`], the symbols, the rank and a bit for [`HAS_OTHERS`]. There
    /// are none if symbols and ranks need more than [`BITS`].
    lines: Zeroed<CacheLines<[u64; LINE]>>,
    /// Those whose line is full.
    others: FxHashMap<u64, u32>,
    num_ranks: usize,
}

/// A pair that is being looked up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Query {
    /// The pair as it stands in a line, but for the rank.
    mark: u64,
    line: u32,
}

impl PairRanks {
    /// Of merges of a number of ranks, of which none is known so far.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(super) fn new(num_ranks: usize) -> Result<Self> {
        // Half full: one line in fifty has more merges than places.
        let num_lines = if num_ranks + 256 <= 1 << BITS { num_ranks / (LINE / 2) + 1 } else { 0 };
        let size_bytes = num_lines * size_of::<[u64; LINE]>();
        Ok(Self {
            lines: Zeroed::new(num_lines).ok_or(Error::OutOfMemory(size_bytes))?,
            others: FxHashMap::default(),
            num_ranks,
        })
    }

    /// Begins to look for a pair.
    #[inline(always)]
    pub(super) fn query(&self, left: u32, right: u32) -> Query {
        let pair = u64::from(left) << 32 | u64::from(right);
        // An odd constant with evenly spread bits: the fractional part of the golden ratio.
        let product = u128::from(pair) * 0x9E37_79B9_7F4A_7C15;
        let hash = product as u64 ^ (product >> 64) as u64;
        let num_lines = self.lines.len() as u64;
        let line = ((hash >> 32) * num_lines) >> 32;
        let mark = if num_lines == 0 { pair } else { mark_of(left, right) };
        Query { mark, line: line as u32 }
    }

    /// As [`query`](Self::query), with what it needs on its way from memory.
    #[inline(always)]
    pub(super) fn query_ahead(&self, left: u32, right: u32) -> Query {
        let query = self.query(left, right);
        if let Some(line) = self.lines.get(query.line as usize) {
            crate::raw::prefetch(line);
        }
        query
    }

    /// The rank of the merge of the pair, [`NONE`] if there is none.
    #[inline(always)]
    pub(super) fn answer(&self, query: &Query) -> u32 {
        let &Query { mark, line } = query;
        let Some(CacheLines(marks)) = self.lines.get(line as usize) else { return self.rank_of_other(mark) };
        // What is left of the right one is its rank.
        let least = marks.iter().fold(u64::MAX, |least, other| least.min(other ^ mark));
        let is_found = least < 1 << (BITS + 1);
        // One question, hardly ever answered by yes, and not two of which the first is anyone's guess.
        if u64::from(!is_found) & marks[LINE - 1] & HAS_OTHERS != 0 {
            return self.rank_of_other(mark);
        }
        if is_found { (least >> 1) as u32 } else { NONE }
    }

    /// The rank of the merge of two symbols, [`NONE`] if there is none.
    #[inline]
    pub(super) fn rank(&self, left: u32, right: u32) -> u32 {
        self.answer(&self.query(left, right))
    }

    #[cold]
    fn rank_of_other(&self, mark: u64) -> u32 {
        self.others.get(&mark).copied().unwrap_or(NONE)
    }

    /// Whether there was no merge of this pair before.
    pub(super) fn insert(&mut self, left: u32, right: u32, rank: u32) -> bool {
        let query = self.query(left, right);
        if self.answer(&query) != NONE {
            return false;
        }
        let Query { mark, line } = query;
        if let Some(CacheLines(marks)) = self.lines.get_mut(line as usize) {
            if let Some(free) = marks.iter_mut().find(|mark| **mark == 0) {
                *free = mark | u64::from(rank) << 1;
                return true;
            }
            marks[LINE - 1] |= HAS_OTHERS;
        }
        self.others.insert(mark, rank);
        true
    }

    /// The pairs by rank; of a rank that none was given for, the greatest numbers.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(super) fn pairs(&self) -> Result<Vec<(u32, u32)>> {
        let mut pairs = memory::filled((u32::MAX, u32::MAX), self.num_ranks)?;
        let low = |bits: u64| bits as u32 & ((1 << BITS) - 1);
        let parts = |mark: u64| match self.lines.len() {
            0 => ((mark >> 32) as u32, mark as u32),
            _ => (low(mark >> (2 * BITS + 1)), low(mark >> (BITS + 1))),
        };
        for mark in self.lines.iter().flat_map(|CacheLines(marks)| marks).filter(|mark| **mark != 0) {
            pairs[low(mark >> 1) as usize] = parts(*mark);
        }
        for (mark, rank) in &self.others {
            pairs[*rank as usize] = parts(*mark);
        }
        Ok(pairs)
    }
}

/// A pair of symbols of up to [`BITS`] bits as it stands in a line; of greater ones, any number.
#[inline(always)]
fn mark_of(left: u32, right: u32) -> u64 {
    USED | u64::from(left) << (2 * BITS + 1) | u64::from(right) << (BITS + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_has_its_rank_and_no_other_has_any() {
        for num_ranks in [0, 1, 3, 100, 70_000, 1 << BITS] {
            let mut ranks = PairRanks::new(num_ranks).unwrap();
            let mut known = FxHashMap::default();
            for rank in 0..num_ranks as u32 {
                let (left, right) = (rank.wrapping_mul(0x9E37_79B9) >> 14, rank % 257);
                assert_eq!(ranks.insert(left, right, rank), known.insert((left, right), rank).is_none());
            }
            if num_ranks == 70_000 {
                assert!((1..num_ranks / 50).contains(&ranks.others.len()), "{}", ranks.others.len());
            }
            let pairs = ranks.pairs().unwrap();
            assert!(known.iter().all(|(pair, rank)| pairs[*rank as usize] == *pair));
            for (&(left, right), &rank) in &known {
                assert_eq!(ranks.rank(left, right), rank);
                for (left, right) in [(left + 1, right), (left, right + 1), (right, left)] {
                    assert_eq!(ranks.rank(left, right), known.get(&(left, right)).copied().unwrap_or(NONE));
                }
            }
        }
    }
}
