//! Adjacent pairs of tokens: how often each occurs, where, and which is to be merged next.

use rustc_hash::FxHashMap;

use super::word::{Change, Words};

/// The byte strings of the tokens by id, in one flat array.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Tokens {
    /// The 256 bytes.
    pub(crate) fn bytes_only() -> Self {
        Self { bytes: (0..=255).collect(), ends: (1..=256).collect() }
    }

    pub(crate) fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start..self.ends[id]]
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Appends the concatenation of two tokens and returns its id.
    pub(crate) fn push_merged(&mut self, (left, right): (u32, u32)) -> u32 {
        for id in [left, right] {
            let id = id as usize;
            let start = if id == 0 { 0 } else { self.ends[id - 1] };
            self.bytes.extend_from_within(start..self.ends[id]);
        }
        self.ends.push(self.bytes.len());
        self.ends.len() as u32 - 1
    }
}

/// A pair that was counted `count` times when it was put into the queue.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    count: u64,
    left: u32,
    right: u32,
    slot: u32,
}

impl Candidate {
    /// The rule by which the next merge is chosen: the greater count, and of equal counts the lexicographically
    /// greater pair of byte strings.
    fn precedes(&self, other: &Self, tokens: &Tokens) -> bool {
        if self.count != other.count {
            return self.count > other.count;
        }
        let pair = |candidate: &Self| (tokens.get(candidate.left), tokens.get(candidate.right));
        pair(self) > pair(other)
    }
}

#[derive(Debug)]
struct Pair {
    left: u32,
    right: u32,
    count: u64,
    /// Words that held the pair when it was last seen to appear in them; a word may have lost it since, or stand
    /// here twice.
    words: Vec<u32>,
}

/// The counts of all pairs, kept true while words change, and a queue of candidates.
///
/// A merge makes pairs that contain the new token; the counts of all others can only fall. So an entry of the queue is
/// never too low, and the one on top is the best pair as soon as its count is found to be still true; otherwise it is
/// put back with the true count.
#[derive(Debug)]
pub(crate) struct Pairs {
    slots: FxHashMap<(u32, u32), u32>,
    all: Vec<Pair>,
    queue: Vec<Candidate>,
}

impl Pairs {
    /// Counts the pairs of all words.
    pub(crate) fn new(words: &Words, tokens: &Tokens) -> Self {
        let mut pairs = Self { slots: FxHashMap::default(), all: Vec::new(), queue: Vec::new() };
        for word in 0..words.len() {
            for pair in words.symbols(word).windows(2) {
                let slot = pairs.slot(pair[0], pair[1]);
                pairs.add(slot, word as u32, words.weight(word));
            }
        }
        for slot in 0..pairs.all.len() {
            pairs.enqueue(slot as u32, tokens);
        }
        pairs
    }

    /// Takes the pair to be merged next out: itself, its count and the words to look for it in. `None` when no pair
    /// is left.
    pub(crate) fn take_best(&mut self, tokens: &Tokens) -> Option<((u32, u32), u64, Vec<u32>)> {
        while let Some(candidate) = self.pop(tokens) {
            let pair = &mut self.all[candidate.slot as usize];
            if pair.count == candidate.count {
                pair.count = 0;
                return Some(((pair.left, pair.right), candidate.count, std::mem::take(&mut pair.words)));
            }
            if pair.count == 0 {
                pair.words = Vec::new();
            } else {
                self.enqueue(candidate.slot, tokens);
            }
        }
        None
    }

    /// Merges `pair` into `merged` in the given words and brings the counts up to date.
    pub(crate) fn merge(
        &mut self,
        words: &mut Words,
        pair: (u32, u32),
        merged: u32,
        occurrences: &[u32],
        tokens: &Tokens,
    ) {
        let first_new = self.all.len();
        for &word in occurrences {
            let weight = words.weight(word as usize);
            words.merge(word as usize, pair, merged, |change| match change {
                Change::Gone(left, right) => {
                    let slot = self.slots[&(left, right)];
                    self.all[slot as usize].count -= weight;
                }
                Change::New(left, right) => {
                    let slot = self.slot(left, right);
                    self.add(slot, word, weight);
                }
            });
        }
        for slot in first_new..self.all.len() {
            self.enqueue(slot as u32, tokens);
        }
    }

    fn slot(&mut self, left: u32, right: u32) -> u32 {
        *self.slots.entry((left, right)).or_insert_with(|| {
            self.all.push(Pair { left, right, count: 0, words: Vec::new() });
            self.all.len() as u32 - 1
        })
    }

    fn add(&mut self, slot: u32, word: u32, weight: u64) {
        let pair = &mut self.all[slot as usize];
        pair.count += weight;
        if pair.words.last() != Some(&word) {
            pair.words.push(word);
        }
    }

    fn enqueue(&mut self, slot: u32, tokens: &Tokens) {
        let Pair { left, right, count, .. } = self.all[slot as usize];
        if count == 0 {
            return;
        }
        // A binary heap by hand: the one of the standard library cannot compare by way of `tokens`.
        let candidate = Candidate { count, left, right, slot };
        let mut at = self.queue.len();
        self.queue.push(candidate);
        while at > 0 {
            let parent = (at - 1) / 2;
            if !candidate.precedes(&self.queue[parent], tokens) {
                break;
            }
            self.queue[at] = self.queue[parent];
            at = parent;
        }
        self.queue[at] = candidate;
    }

    fn pop(&mut self, tokens: &Tokens) -> Option<Candidate> {
        let last = self.queue.pop()?;
        let Some(&top) = self.queue.first() else { return Some(last) };
        let mut at = 0;
        loop {
            let mut child = 2 * at + 1;
            if child >= self.queue.len() {
                break;
            }
            if child + 1 < self.queue.len() && self.queue[child + 1].precedes(&self.queue[child], tokens) {
                child += 1;
            }
            if !self.queue[child].precedes(&last, tokens) {
                break;
            }
            self.queue[at] = self.queue[child];
            at = child;
        }
        self.queue[at] = last;
        Some(top)
    }
}
