//! The distinct pretokens as sequences of token ids, in one flat array that merges change in place.
//!
//! Every word starts as one slot a symbol and keeps its slots for ever. A token that merges have made of several slots
//! writes its id into its first and its last one, so that both neighbours of a token are found in one step each: the
//! next starts behind its last slot, and the previous one ends before its first. Nothing is moved and nothing is
//! scanned, however long the word is: a merge costs the same in a word of three symbols as in one of a million.

use crate::error::{Error, Result};
use crate::memory::{push, reserve};

/// Stands before and behind every word.
const BORDER: u32 = u32::MAX;
/// Stands where a token started that has become the inside of another.
const INSIDE: u32 = u32::MAX - 1;
/// Stands for a weight that does not fit into an occurrence.
const HEAVY: u32 = u32::MAX;

/// A place where a pair of tokens was seen, and how often the word that holds it occurs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Occurrence {
    /// The first slot of the pair.
    at: u32,
    /// Here rather than beside the words: looking it up would be another wait for memory.
    weight: u32,
}

/// All words end to end, with borders between them.
#[derive(Debug)]
pub(crate) struct Words {
    slots: Vec<u32>,
    /// The number of slots that each token fills, by its id.
    widths: Vec<u32>,
    /// By word, in the order of the slots.
    weights: Vec<u64>,
    /// Where the words start whose weights are [`HEAVY`], and those weights.
    heavy: Vec<(u32, u64)>,
}

impl Words {
    /// No words yet, in which `num_tokens` tokens may stand.
    pub(crate) fn new(num_tokens: usize) -> Self {
        Self { slots: vec![BORDER], widths: vec![1; num_tokens], weights: Vec::new(), heavy: Vec::new() }
    }

    /// Appends a word. One of fewer than two symbols holds no pair and is left out.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the words together get too long to be numbered; [`Error::OutOfMemory`].
    pub(crate) fn push(&mut self, symbols: impl ExactSizeIterator<Item = u32>, weight: u64) -> Result<()> {
        if symbols.len() < 2 {
            return Ok(());
        }
        if self.slots.len() + symbols.len() + 1 > INSIDE as usize {
            return Err(Error::invalid(
                "the distinct pretokens are longer than 4 GiB together; train on a part of the texts",
            ));
        }
        reserve(&mut self.slots, symbols.len() + 1)?;
        if inline(weight) == HEAVY {
            push(&mut self.heavy, (self.slots.len() as u32, weight))?;
        }
        push(&mut self.weights, weight)?;
        self.slots.extend(symbols);
        self.slots.push(BORDER);
        Ok(())
    }

    pub(crate) fn num_words(&self) -> usize {
        self.weights.len()
    }

    /// Calls `visit` with every pair of neighbouring tokens and where it is, in the order of the words.
    ///
    /// # Errors
    /// Those of `check`, which is called once in some milliseconds.
    #[inline]
    pub(crate) fn for_each_pair(
        &self,
        mut check: impl FnMut() -> Result<()>,
        mut visit: impl FnMut(u32, u32, Occurrence),
    ) -> Result<()> {
        // Before the first merge a token's width need not be looked up to know where the next one is: half the time.
        let is_unmerged = self.widths.iter().all(|&width| width == 1);
        let mut at = 1;
        let mut next_check = 0;
        for &weight in &self.weights {
            let weight = inline(weight);
            let mut left = self.slots[at];
            loop {
                let next = at + if is_unmerged { 1 } else { self.widths[left as usize] as usize };
                let right = self.slots[next];
                if right == BORDER {
                    at = next + 1;
                    break;
                }
                visit(left, right, Occurrence { at: at as u32, weight });
                (at, left) = (next, right);
            }
            if at >= next_check {
                check()?;
                next_check = at + (1 << 20);
            }
        }
        Ok(())
    }

    /// Tells the words of a token that merging made.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn push_token(&mut self, (left, right): (u32, u32)) -> Result<()> {
        let width = self.widths[left as usize] + self.widths[right as usize];
        push(&mut self.widths, width)
    }

    /// How often the word occurs that an occurrence is in.
    #[inline]
    pub(crate) fn weight(&self, occurrence: Occurrence) -> u64 {
        if occurrence.weight == HEAVY { self.heavy_weight(occurrence.at) } else { u64::from(occurrence.weight) }
    }

    #[cold]
    fn heavy_weight(&self, at: u32) -> u64 {
        self.heavy[self.heavy.partition_point(|&(start, _)| start <= at) - 1].1
    }

    /// Asks for the memory around an occurrence.
    #[inline]
    pub(crate) fn prefetch(&self, occurrence: Occurrence) {
        crate::raw::prefetch(&self.slots[occurrence.at as usize]);
    }

    /// Whether the pair still stands where it was seen.
    #[inline]
    pub(crate) fn holds(&self, (left, right): (u32, u32), occurrence: Occurrence) -> bool {
        let at = occurrence.at as usize;
        // A slot that holds `left` as the last of a wide token is not mistaken for a first one: `at` was the first slot
        // of a token, whose last slot it can only have been before it had grown to be `left`.
        self.slots[at] == left && self.slots[at + self.widths[left as usize] as usize] == right
    }

    /// Makes one token of a pair that [`holds`](Self::holds), and returns its neighbours with the place of the pair
    /// that it forms with each.
    #[inline]
    pub(crate) fn merge(&mut self, (left, right): (u32, u32), merged: u32, occurrence: Occurrence) -> Neighbours {
        let at = occurrence.at as usize;
        let middle = at + self.widths[left as usize] as usize;
        let end = middle + self.widths[right as usize] as usize;
        self.slots[middle] = INSIDE;
        self.slots[at] = merged;
        self.slots[end - 1] = merged;
        let (before, after) = (self.slots[at - 1], self.slots[end]);
        let start_of_before =
            |before: u32| Occurrence { at: occurrence.at - self.widths[before as usize], ..occurrence };
        Neighbours {
            before: (before != BORDER).then(|| (before, start_of_before(before))),
            after: (after != BORDER).then_some((after, occurrence)),
        }
    }
}

/// What stands on either side of a new token, and where the pair of it and that token starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbours {
    pub(crate) before: Option<(u32, Occurrence)>,
    pub(crate) after: Option<(u32, Occurrence)>,
}

fn inline(weight: u64) -> u32 {
    u32::try_from(weight).unwrap_or(HEAVY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs_of(words: &Words) -> Vec<(u32, u32, Occurrence)> {
        let mut pairs = Vec::new();
        words.for_each_pair(|| Ok(()), |left, right, occurrence| pairs.push((left, right, occurrence))).unwrap();
        pairs
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
        fn merging_at_every_occurrence_replaces_from_the_left(
            texts in prop::collection::vec(prop::collection::vec(0_u32..3, 0..20), 1..4),
            choices in prop::collection::vec(any::<prop::sample::Index>(), 1..12),
        ) {
            let mut expected: Vec<Vec<u32>> = texts.into_iter().filter(|text| text.len() > 1).collect();
            let weights = [7, u64::from(u32::MAX), 1 << 40];
            let mut words = Words::new(3);
            for (text, weight) in expected.iter().zip(weights) {
                words.push(text.iter().copied(), weight).unwrap();
            }
            for choice in choices {
                let pairs = pairs_of(&words);
                let listed: Vec<(u32, u32, u64)> =
                    pairs.iter().map(|&(left, right, at)| (left, right, words.weight(at))).collect();
                let standing = expected.iter().zip(weights).flat_map(|(text, weight)| {
                    text.windows(2).map(move |pair| (pair[0], pair[1], weight))
                });
                prop_assert_eq!(listed, standing.collect::<Vec<_>>());
                let Some(&(left, right, _)) = pairs.get(choice.index(pairs.len().max(1))) else { break };

                let merged = words.widths.len() as u32;
                words.push_token((left, right)).unwrap();
                for (_, _, occurrence) in pairs {
                    if words.holds((left, right), occurrence) {
                        words.merge((left, right), merged, occurrence);
                    }
                }
                for text in &mut expected {
                    *text = replaced(text, (left, right), merged);
                }
            }
        }
    }
}
