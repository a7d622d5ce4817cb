//! The rank of the merge of two symbols.
//!
//! What a processor has close at hand is small: 1 MiB, of which other tables want their part, and what lies farther off
//! takes 30 times as long. So a merge takes four bytes here and not the sixteen that both symbols and the rank do: its
//! rank and a few bits of its hash, sixteen merges to a cache line, which are looked at together. That the symbols are
//! the right ones is seen from a list of them by rank; nearly always they are, so that nothing waits for it.

#![allow(clippy::inline_always)] // to be compiled for the kind of processor that the caller is compiled for

use rustc_hash::FxHashMap;

use crate::error::{Error, Result};
use crate::raw::zeroed::{CacheLines, Zeroed};

/// No merge: greater than every rank.
pub(super) const NONE: u32 = u32::MAX;

/// The merges on a cache line.
const LINE: usize = 16;
/// A free place; there is no such mark, as the highest bit of each is set.
const FREE: u32 = 0;

/// The bits of a symbol.
const SYMBOL_BITS: u32 = 32;

/// Ranks by the pair that merges.
#[derive(Debug)]
pub(super) struct PairRanks {
    /// Each merge is on the line that its hash says, as a mark: the highest bit, some bits of the hash, and the rank plus one.
    lines: Zeroed<CacheLines<[u32; LINE]>>,
    rank_bits: u32,
    /// By rank.
    pairs: Vec<u64>,
    /// Those that found no place: their line was full or had the same bits of another hash.
    others: FxHashMap<u64, u32>,
}

/// A pair that is being looked up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Query {
    pair: u64,
    line: u32,
    mark: u32,
}

impl PairRanks {
    /// Of merges of a number of ranks, of which none is known so far.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(super) fn new(num_ranks: usize) -> Result<Self> {
        // Half full: one line in two hundred has more merges than places.
        let num_lines = num_ranks / (LINE / 2) + 1;
        let size_bytes = num_lines * size_of::<[u32; LINE]>();
        Ok(Self {
            lines: Zeroed::new(num_lines).ok_or(Error::OutOfMemory(size_bytes))?,
            rank_bits: usize::BITS - num_ranks.leading_zeros(),
            pairs: vec![u64::MAX; num_ranks.max(1)],
            others: FxHashMap::default(),
        })
    }

    #[inline(always)]
    fn pair(left: u32, right: u32) -> u64 {
        u64::from(left) << SYMBOL_BITS | u64::from(right)
    }

    /// Begins to look for a pair.
    #[inline(always)]
    pub(super) fn query(&self, left: u32, right: u32) -> Query {
        let pair = Self::pair(left, right);
        // An odd constant with evenly spread bits: the fractional part of the golden ratio.
        let product = u128::from(pair) * 0x9E37_79B9_7F4A_7C15;
        let hash = product as u64 ^ (product >> 64) as u64;
        let line = ((hash >> 32) * self.lines.len() as u64) >> 32;
        Query { pair, line: line as u32, mark: (hash as u32 | 1 << 31) >> self.rank_bits << self.rank_bits }
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
        let &Query { pair, line, mark } = query;
        let Some(CacheLines(marks)) = self.lines.get(line as usize) else { return NONE };
        let least = marks.iter().fold(u32::MAX, |least, place| least.min(place ^ mark));
        let is_found = least < 1 << self.rank_bits;
        let rank = if is_found { least.wrapping_sub(1) } else { 0 };
        let is_right = self.pairs.get(rank as usize) == Some(&pair);
        // One question, hardly ever answered by yes, and not several that are anyone's guess.
        let is_other = if is_found { !is_right } else { marks[LINE - 1] != FREE };
        if is_other {
            return self.rank_of_other(pair);
        }
        if is_found { rank } else { NONE }
    }

    /// The rank of the merge of two symbols, [`NONE`] if there is none.
    #[inline]
    pub(super) fn rank(&self, left: u32, right: u32) -> u32 {
        self.answer(&self.query(left, right))
    }

    #[cold]
    fn rank_of_other(&self, pair: u64) -> u32 {
        self.others.get(&pair).copied().unwrap_or(NONE)
    }

    /// Whether there was no merge of this pair before.
    pub(super) fn insert(&mut self, left: u32, right: u32, rank: u32) -> bool {
        let query = self.query(left, right);
        if self.answer(&query) != NONE {
            return false;
        }
        let Query { pair, line, mark } = query;
        self.pairs[rank as usize] = pair;
        let CacheLines(marks) = &mut self.lines[line as usize];
        let is_like = |other: u32| other ^ mark < 1 << self.rank_bits;
        match marks.iter_mut().find(|place| **place == FREE || is_like(**place)) {
            Some(place) if *place == FREE => *place = mark | (rank + 1),
            _ => {
                self.others.insert(pair, rank);
            }
        }
        true
    }

    /// The pairs by rank; of a rank that none was given for, the greatest numbers.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (u32, u32)> {
        self.pairs.iter().map(|pair| ((pair >> SYMBOL_BITS) as u32, *pair as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_has_its_rank_and_no_other_has_any() {
        for num_ranks in [0, 1, 3, 100, 70_000] {
            let mut ranks = PairRanks::new(num_ranks).unwrap();
            let mut known = FxHashMap::default();
            for rank in 0..num_ranks as u32 {
                let (left, right) = (rank.wrapping_mul(0x9E37_79B9) >> 14, rank % 257);
                assert_eq!(ranks.insert(left, right, rank), known.insert((left, right), rank).is_none());
            }
            assert!(ranks.others.len() <= num_ranks / 20, "{} of {num_ranks}", ranks.others.len());
            assert!(num_ranks < 70_000 || !ranks.others.is_empty());
            for (&(left, right), &rank) in &known {
                assert_eq!(ranks.rank(left, right), rank);
                for (left, right) in [(left + 1, right), (left, right + 1), (right, left)] {
                    assert_eq!(ranks.rank(left, right), known.get(&(left, right)).copied().unwrap_or(NONE));
                }
            }
        }
    }
}
