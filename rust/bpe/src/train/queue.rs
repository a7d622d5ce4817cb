//! The queue of pairs that may be merged next.

use std::cmp::Ordering;

use super::tokens::Tokens;
use crate::error::Result;
use crate::memory;

/// A pair, the places where it was seen, and a count that is at least the number of places it stands in now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) count: u64,
    pub(crate) pair: (u32, u32),
    /// Where its occurrences start in the list of all, and how many they are.
    pub(crate) first: usize,
    pub(crate) num_occurrences: u32,
}

/// Gives the candidates out by the rule of the next merge: the greatest count first, and of equal counts the
/// lexicographically greatest pair of byte strings.
///
/// A merge makes no pair that is more frequent than the merged one, so what is put in never exceeds what was taken out
/// last. That allows a radix heap (Ahuja et al. 1990): bucket `b` holds the counts whose highest bit that differs from
/// the last one is bit `b - 1`, and an entry moves only when its bucket is the first that is not empty, to a lower one
/// each time. Only the entries equal to the last count, bucket 0, are kept in the order of their byte strings. A plain
/// heap of everything compares byte strings at each of its levels, as most counts are small and equal to many others.
#[derive(Debug)]
pub(crate) struct Queue {
    last: u64,
    buckets: [Vec<Candidate>; 65],
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self { last: u64::MAX, buckets: [const { Vec::new() }; 65] }
    }

    /// Puts a candidate in, whose count is at most that of the last one taken out.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), here as below.
    pub(crate) fn push(&mut self, candidate: Candidate, tokens: &Tokens) -> Result<()> {
        debug_assert!(candidate.count <= self.last, "counts only fall");
        let bucket = (u64::BITS - (candidate.count ^ self.last).leading_zeros()) as usize;
        memory::push(&mut self.buckets[bucket], candidate)?;
        if bucket == 0 {
            sift_up(&mut self.buckets[0], tokens);
        }
        Ok(())
    }

    /// Takes the first candidate out.
    pub(crate) fn pop(&mut self, tokens: &Tokens) -> Result<Option<Candidate>> {
        if self.buckets[0].is_empty() {
            let Some(first) = self.buckets.iter().position(|bucket| !bucket.is_empty()) else { return Ok(None) };
            let candidates = std::mem::take(&mut self.buckets[first]);
            self.last = candidates.iter().map(|candidate| candidate.count).max().expect("not empty");
            for candidate in candidates {
                self.push(candidate, tokens)?;
            }
        }
        Ok(pop_first(&mut self.buckets[0], tokens))
    }
}

/// The order of candidates with the same count.
fn precedes(first: &Candidate, second: &Candidate, tokens: &Tokens) -> bool {
    let by_left = tokens.compare(first.pair.0, second.pair.0);
    by_left.then_with(|| tokens.compare(first.pair.1, second.pair.1)) == Ordering::Greater
}

// A binary heap by hand: that of the standard library cannot compare by way of `tokens`.

fn sift_up(heap: &mut [Candidate], tokens: &Tokens) {
    let mut at = heap.len() - 1;
    while at > 0 && precedes(&heap[at], &heap[(at - 1) / 2], tokens) {
        heap.swap(at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

fn pop_first(heap: &mut Vec<Candidate>, tokens: &Tokens) -> Option<Candidate> {
    if heap.is_empty() {
        return None;
    }
    let first = heap.swap_remove(0);
    let mut at = 0;
    loop {
        let mut child = 2 * at + 1;
        if child + 1 < heap.len() && precedes(&heap[child + 1], &heap[child], tokens) {
            child += 1;
        }
        if child >= heap.len() || !precedes(&heap[child], &heap[at], tokens) {
            return Some(first);
        }
        heap.swap(child, at);
        at = child;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn comes_out_by_count_and_then_by_bytes(
            puts in prop::collection::vec(
                prop::collection::vec((prop_oneof![0_u64..9, any::<u64>()], 0_u32..256, 0_u32..256), 0..20), 1..20
            ),
        ) {
            let tokens = Tokens::bytes_only();
            let (mut queue, mut expected, mut last) = (Queue::new(), Vec::new(), u64::MAX);
            for puts in puts {
                for (count, left, right) in puts {
                    let count = count.min(last);
                    let candidate = Candidate { count, pair: (left, right), first: 0, num_occurrences: 0 };
                    queue.push(candidate, &tokens).unwrap();
                    expected.push((count, (left, right)));
                }
                expected.sort_unstable();
                let found = queue.pop(&tokens).unwrap().map(|candidate| (candidate.count, candidate.pair));
                prop_assert_eq!(found, expected.pop());
                last = found.map_or(last, |(count, _)| count);
            }
        }
    }
}
