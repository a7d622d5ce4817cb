//! The merges of a pretoken however long it is: n log n in time, and some eight bytes a byte in memory.
//!
//! What comes next is the leftmost of the lowest ranks. A tournament finds it: the ranks of all pairs are the players,
//! by sixteen they play for the lowest, the winners again by sixteen, and so on; a pair that changes plays its few games
//! again. A heap of (rank, place) did the same in up to 32 bytes a byte, as entries of pairs that are gone stayed in it.

use super::merge::{MergeTable, NONE};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::memory::{reserve, with_capacity};

/// Stands, instead of the rank of the pair that begins there, where a token goes on.
const INSIDE: u32 = NONE - 1;

impl MergeTable {
    /// Appends the ids of symbols, of which there is at least one.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub(super) fn encode_long(
        &self,
        symbols: impl ExactSizeIterator<Item = u32>,
        out: &mut Vec<u32>,
        control: &Control,
    ) -> Result<()> {
        let mut tokens = Tokens::new(self, symbols)?;
        let mut num_left = tokens.slots.len();
        while let Some((at, rank)) = tokens.pairs.lowest() {
            if num_left.is_multiple_of(1 << 12) {
                control.check()?;
            }
            num_left -= 1;
            tokens.merge(self, at, self.product(rank));
        }

        reserve(out, num_left)?;
        let mut at = 0;
        while let Some(&symbol) = tokens.slots.get(at) {
            out.push(self.id(symbol));
            at = tokens.next(at);
        }
        Ok(())
    }
}

/// The tokens so far, in a slot for each of the symbols that they were made of.
struct Tokens {
    /// The token in its first slot; the number of its slots in the second and the last, if it has several.
    slots: Vec<u32>,
    /// The rank of the pair that begins in a slot, [`INSIDE`] in all slots of a token but the first.
    pairs: Tournament,
}

impl Tokens {
    fn new(table: &MergeTable, symbols: impl ExactSizeIterator<Item = u32>) -> Result<Self> {
        let num_symbols = symbols.len();
        if u32::try_from(num_symbols).is_err() {
            return Err(Error::invalid(format!("a pretoken of {num_symbols} symbols, expected less than 4 Gi")));
        }
        let mut slots = with_capacity(num_symbols)?;
        slots.extend(symbols);
        let mut ranks = with_capacity(num_symbols)?;
        ranks.extend(slots.windows(2).map(|pair| table.rank(pair[0], pair[1])));
        ranks.push(NONE);
        Ok(Self { slots, pairs: Tournament::new(ranks)? })
    }

    /// Makes one token of that at `at` and the next one.
    fn merge(&mut self, table: &MergeTable, at: usize, merged: u32) {
        let middle = self.next(at);
        let end = self.next(middle);
        let width = (end - at) as u32;
        self.slots[at] = merged;
        self.slots[at + 1] = width;
        self.slots[end - 1] = width;
        self.pairs.set(middle, INSIDE);
        self.pairs.set(at, self.slots.get(end).map_or(NONE, |&after| table.rank(merged, after)));
        if at > 0 {
            let before = self.previous(at);
            self.pairs.set(before, table.rank(self.slots[before], merged));
        }
    }

    /// Where the token after the one at `at` begins.
    fn next(&self, at: usize) -> usize {
        if self.pairs.get(at + 1) == Some(INSIDE) { at + self.slots[at + 1] as usize } else { at + 1 }
    }

    /// Where the token before the one at `at` begins, which is not the first.
    fn previous(&self, at: usize) -> usize {
        if self.pairs.get(at - 1) == Some(INSIDE) { at - self.slots[at - 1] as usize } else { at - 1 }
    }
}

/// Ranks by place, and the lowest of them.
struct Tournament {
    /// The ranks; the lowest of each [`ARITY`] of them; the lowest of each [`ARITY`] of those; at last, of all.
    rounds: Vec<Vec<u32>>,
}

const ARITY: usize = 16;

impl Tournament {
    /// There is at least one rank.
    fn new(ranks: Vec<u32>) -> Result<Self> {
        let mut rounds = vec![ranks];
        while let Some(players) = rounds.last().filter(|players| players.len() > 1) {
            let mut winners = with_capacity(players.len().div_ceil(ARITY))?;
            winners.extend(players.chunks(ARITY).map(lowest));
            rounds.push(winners);
        }
        Ok(Self { rounds })
    }

    fn get(&self, at: usize) -> Option<u32> {
        self.rounds[0].get(at).copied()
    }

    /// The first place that has the lowest rank, if that is one.
    fn lowest(&self) -> Option<(usize, u32)> {
        let (last, others) = self.rounds.split_last()?;
        let rank = last[0];
        let mut at = 0;
        for players in others.iter().rev() {
            at *= ARITY;
            at += players[at..].iter().position(|&player| player == rank)?;
        }
        (rank < INSIDE).then_some((at, rank))
    }

    fn set(&mut self, mut at: usize, rank: u32) {
        self.rounds[0][at] = rank;
        for round in 1..self.rounds.len() {
            at /= ARITY;
            let players = &self.rounds[round - 1];
            let winner = lowest(&players[at * ARITY..players.len().min((at + 1) * ARITY)]);
            if std::mem::replace(&mut self.rounds[round][at], winner) == winner {
                return;
            }
        }
    }
}

fn lowest(ranks: &[u32]) -> u32 {
    ranks.iter().copied().fold(NONE, u32::min)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Merges of older symbols at random, each pair once; that of rank `r` makes the symbol `256 + r`.
    fn merges_of(choices: &[(u32, u32)]) -> Vec<(u32, u32)> {
        let mut merges = Vec::new();
        for &(left, right) in choices {
            let symbols = 2 + merges.len() as u32;
            let symbol = |choice: u32| if choice % symbols < 2 { choice % symbols } else { 254 + choice % symbols };
            let pair = (symbol(left), symbol(right));
            if !merges.contains(&pair) {
                merges.push(pair);
            }
        }
        merges
    }

    fn by_definition(merges: &[(u32, u32)], mut symbols: Vec<u32>) -> Vec<u32> {
        let rank = |pair: &[u32]| merges.iter().position(|&(left, right)| pair == [left, right]);
        loop {
            let ranks = symbols.windows(2).enumerate().filter_map(|(at, pair)| Some((rank(pair)?, at)));
            let Some((rank, at)) = ranks.min() else { return symbols };
            symbols.splice(at..at + 2, [256 + rank as u32]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// Of one to three rounds of the tournament.
        #[test]
        fn follows_the_definition(
            choices in prop::collection::vec((any::<u32>(), any::<u32>()), 0..12),
            symbols in prop_oneof![prop::collection::vec(0_u32..2, 1..40), prop::collection::vec(0_u32..2, 1..400)],
        ) {
            let merges = merges_of(&choices);
            let table = MergeTable::of_symbols(&merges).unwrap();
            let mut found = Vec::new();
            table.encode_long(symbols.iter().copied(), &mut found, &Control::new()).unwrap();
            prop_assert_eq!(found, by_definition(&merges, symbols));
        }
    }

    #[test]
    fn a_run_is_merged_from_the_left_into_powers_of_two() {
        let merges: Vec<(u32, u32)> = [(0, 0)].into_iter().chain((256..266).map(|symbol| (symbol, symbol))).collect();
        let table = MergeTable::of_symbols(&merges).unwrap();
        let (length, largest) = (70_003, 1 << merges.len());
        let mut found = Vec::new();
        table.encode_long(std::iter::repeat_n(0, length), &mut found, &Control::new()).unwrap();
        let width = |symbol: u32| if symbol == 0 { 1 } else { 1 << (symbol - 255) };
        assert_eq!(found.iter().map(|&symbol| width(symbol)).sum::<usize>(), length);
        let (whole, rest) = found.split_at(length / largest);
        assert!(whole.iter().all(|&symbol| width(symbol) == largest));
        assert!(rest.is_sorted_by(|one, other| one > other), "{rest:?}");
    }

    #[test]
    fn whoever_cancels_does_not_wait_for_its_end() {
        let control = Control::new();
        control.cancel();
        let table = MergeTable::of_symbols(&[(0, 0)]).unwrap();
        let merged = table.encode_long(std::iter::repeat_n(0, 100_000), &mut Vec::new(), &control);
        assert!(matches!(merged, Err(Error::Interrupted)));
    }
}
