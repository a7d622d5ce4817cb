//! The distinct pretokens as sequences of token ids, in one flat array.

use crate::count::CountTable;

/// All words end to end; merging shortens a word in place.
#[derive(Debug, Default)]
pub(crate) struct Words {
    symbols: Vec<u32>,
    starts: Vec<usize>,
    lengths: Vec<u32>,
    weights: Vec<u64>,
}

impl Words {
    /// The words of at least two bytes; shorter ones hold no pair.
    pub(crate) fn new(table: &CountTable) -> Self {
        let mut words = Self::default();
        table.for_each(|pretoken, count| {
            if let (2.., Ok(length)) = (pretoken.len(), u32::try_from(pretoken.len())) {
                words.starts.push(words.symbols.len());
                words.lengths.push(length);
                words.weights.push(count);
                words.symbols.extend(pretoken.iter().map(|&byte| u32::from(byte)));
            }
        });
        words
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    pub(crate) fn weight(&self, word: usize) -> u64 {
        self.weights[word]
    }

    pub(crate) fn symbols(&self, word: usize) -> &[u32] {
        &self.symbols[self.starts[word]..][..self.lengths[word] as usize]
    }

    /// Replaces each occurrence of `pair` in `word`, from the left, by `merged`, and reports every adjacency that goes
    /// and every one that comes to `change`. Those of `pair` itself are not reported: all of them go.
    pub(crate) fn merge(&mut self, word: usize, pair: (u32, u32), merged: u32, mut change: impl FnMut(Change)) {
        let symbols = &mut self.symbols[self.starts[word]..][..self.lengths[word] as usize];
        let (left, right) = pair;
        let matches = |symbols: &[u32], at: usize| at + 1 < symbols.len() && (symbols[at], symbols[at + 1]) == pair;
        let (mut read, mut written) = (0, 0);
        while read < symbols.len() {
            if !matches(symbols, read) {
                symbols[written] = symbols[read];
                (read, written) = (read + 1, written + 1);
                continue;
            }
            if let Some(&before) = symbols[..written].last() {
                // After a match that ends right here, the adjacency (merged, left) was never reported as coming.
                if before != merged {
                    change(Change::Gone(before, left));
                }
                change(Change::New(before, merged));
            }
            if let Some(&after) = symbols.get(read + 2) {
                if (right, after) != pair {
                    change(Change::Gone(right, after));
                }
                if !matches(symbols, read + 2) {
                    change(Change::New(merged, after));
                }
            }
            symbols[written] = merged;
            (read, written) = (read + 2, written + 1);
        }
        self.lengths[word] = written as u32;
    }
}

/// One adjacency of two symbols in a word, gone or new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Gone(u32, u32),
    New(u32, u32),
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn adjacencies(symbols: &[u32]) -> HashMap<(u32, u32), i64> {
        let mut counts = HashMap::new();
        for pair in symbols.windows(2) {
            *counts.entry((pair[0], pair[1])).or_default() += 1;
        }
        counts
    }

    fn replaced(symbols: &[u32], pair: (u32, u32), merged: u32) -> Vec<u32> {
        let mut result = Vec::new();
        let mut at = 0;
        while at < symbols.len() {
            if symbols[at..].starts_with(&[pair.0, pair.1]) {
                result.push(merged);
                at += 2;
            } else {
                result.push(symbols[at]);
                at += 1;
            }
        }
        result
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn the_changes_are_those_of_counting_again(
            word in prop::collection::vec(0_u8..3, 2..20), left in 0_u32..3, right in 0_u32..3,
        ) {
            let mut table = CountTable::new();
            table.add(&word, 0..word.len(), 1);
            let mut words = Words::new(&table);
            let mut counts = adjacencies(words.symbols(0));
            let expected = replaced(words.symbols(0), (left, right), 9);
            words.merge(0, (left, right), 9, |change| match change {
                Change::Gone(a, b) => *counts.entry((a, b)).or_default() -= 1,
                Change::New(a, b) => *counts.entry((a, b)).or_default() += 1,
            });
            counts.remove(&(left, right));
            counts.retain(|_, count| *count != 0);
            prop_assert_eq!(words.symbols(0), &expected[..]);
            prop_assert_eq!(counts, adjacencies(&expected));
        }
    }
}
