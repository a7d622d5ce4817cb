//! Adjacent pairs of tokens: where each occurs, and which is to be merged next.
//!
//! No count is kept up to date. A pair is given a list of the places where it stands when it appears, which is at the
//! start or in the merge that makes the younger of its two tokens; later it can only vanish from some of them. So the
//! count it had at first is never too low, and when that count comes to the top of the queue a walk over its places
//! tells the true one: either it is the best pair, or it goes back with that count. This needs no table of pairs.
//!
//! For the same reason a pair that is rarer than the last merge will be need not be listed at all. That count is not
//! known beforehand, so there is a threshold: pairs below it are passed over, and once only they are left, the words
//! are gone through again for a lower threshold.

use super::queue::{Candidate, Queue};
use super::tokens::Tokens;
use super::words::{Neighbours, Occurrence, Words};
use crate::control::Control;
use crate::error::Result;
use crate::memory;

/// Which pairs may be merged.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// The least count, at least 1.
    pub(crate) min_count: u64,
    /// The greatest number of bytes that a pair may have together.
    pub(crate) max_length: usize,
    /// The greatest number of words: of stretches without a space.
    pub(crate) max_words: usize,
    /// What no pair may contain together.
    pub(crate) forbidden: Vec<Vec<u8>>,
}

impl Limits {
    /// Whether a pair may be merged, apart from its count.
    fn allow(&self, (left, right): (u32, u32), tokens: &Tokens) -> bool {
        let (left, right) = (tokens.get(left), tokens.get(right));
        if left.len() + right.len() > self.max_length {
            return false;
        }
        if self.max_words == usize::MAX && self.forbidden.is_empty() {
            return true;
        }
        let merged = [left, right].concat();
        let num_words = merged.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).count();
        let holds = |part: &Vec<u8>| memchr::memmem::find(&merged, part).is_some();
        num_words <= self.max_words && !self.forbidden.iter().any(holds)
    }
}

/// The occurrences of this many pairs at most are sorted at a time when the words are gone through.
const BATCH: usize = 1 << 22;
/// How far ahead of the work memory is asked for.
const AHEAD: usize = 12;

/// The words, the tokens in them, and the pairs that may be merged next.
#[derive(Debug)]
pub(crate) struct Pairs {
    tokens: Tokens,
    words: Words,
    limits: Limits,
    queue: Queue,
    /// The places of all listed pairs, those of each together.
    occurrences: Vec<Occurrence>,
    /// All pairs that occur so often are listed...
    threshold: u64,
    /// ...if any are.
    is_listed: bool,
    old: OldCounts,
    groups: Groups,
    /// Room for the pairs that a merge makes.
    before: Vec<Event>,
    after: Vec<Event>,
}

/// A pair of which one token is known: the other one, and where the pair stands.
#[derive(Clone, Copy, Debug, Default)]
struct Event {
    other: u32,
    occurrence: Occurrence,
}

/// What is known of the pairs of one token with each other token; all zero between two uses.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    count: u64,
    num_occurrences: u32,
    is_listed: bool,
    next: usize,
}

/// The true counts of the pairs of the oldest tokens, kept up to date.
///
/// They have the longest lists, and lose places in nearly every merge: nine tenths of all walks were theirs.
#[derive(Debug)]
struct OldCounts(Vec<u64>);

impl OldCounts {
    /// The bytes and the first merges; the table takes 2 MiB.
    const NUM_TOKENS: u32 = 512;

    fn new() -> Result<Self> {
        Ok(Self(memory::filled(0, (Self::NUM_TOKENS * Self::NUM_TOKENS) as usize)?))
    }

    fn get(&mut self, (left, right): (u32, u32)) -> Option<&mut u64> {
        let is_old = left < Self::NUM_TOKENS && right < Self::NUM_TOKENS;
        is_old.then(|| &mut self.0[(left * Self::NUM_TOKENS + right) as usize])
    }

    fn set(&mut self, pair: (u32, u32), count: u64) {
        if let Some(old) = self.get(pair) {
            *old = count;
        }
    }
}

#[derive(Debug, Default)]
struct Groups {
    by_other: Vec<Group>,
    others: Vec<u32>,
}

impl Pairs {
    /// `threshold` is a guess of how often the last pair that will be merged occurs.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub(crate) fn new(words: Words, tokens: Tokens, limits: Limits, threshold: u64) -> Result<Self> {
        Ok(Self {
            tokens,
            words,
            limits,
            queue: Queue::new(),
            occurrences: Vec::new(),
            threshold,
            is_listed: false,
            old: OldCounts::new()?,
            groups: Groups::default(),
            before: Vec::new(),
            after: Vec::new(),
        })
    }

    /// Merges the best pairs, until there are `num_merges` in `merges` or none is left that may be merged.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error::Interrupted), [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub(crate) fn merge_best(
        &mut self,
        num_merges: usize,
        merges: &mut Vec<(u32, u32)>,
        control: &Control,
    ) -> Result<()> {
        while merges.len() < num_merges {
            let Some(best) = self.take_best(control)? else { break };
            self.merge(&best, control)?;
            memory::push(merges, best.pair)?;
            control.advance(1);
        }
        Ok(())
    }

    pub(crate) fn into_tokens(self) -> Tokens {
        self.tokens
    }

    /// The pair to be merged next; `None` when none is left that may be merged.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error::Interrupted), [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    fn take_best(&mut self, control: &Control) -> Result<Option<Candidate>> {
        loop {
            while let Some(mut candidate) = self.queue.pop(&self.tokens)? {
                control.check()?;
                let listed = candidate.count;
                match self.old.get(candidate.pair) {
                    Some(&mut count) => candidate.count = count,
                    None => self.recount(&mut candidate),
                }
                if candidate.count == listed {
                    return Ok(Some(candidate));
                }
                if candidate.count >= self.threshold {
                    self.queue.push(candidate, &self.tokens)?;
                }
            }
            if !self.is_listed {
                self.list_all(self.threshold.max(self.limits.min_count), control)?;
                self.is_listed = true;
            } else if self.threshold > self.limits.min_count {
                self.list_all((self.threshold / 4).max(self.limits.min_count), control)?;
            } else {
                return Ok(None);
            }
        }
    }

    /// Finds the places where a candidate still stands and counts them.
    fn recount(&mut self, candidate: &mut Candidate) {
        let range = candidate.first..candidate.first + candidate.num_occurrences as usize;
        let listed = &mut self.occurrences[range];
        let (mut kept, mut count) = (0, 0);
        for index in 0..listed.len() {
            if let Some(later) = listed.get(index + AHEAD) {
                self.words.prefetch(*later);
            }
            let occurrence = listed[index];
            if self.words.holds(candidate.pair, occurrence) {
                listed[kept] = occurrence;
                kept += 1;
                count += self.words.weight(occurrence);
            }
        }
        candidate.num_occurrences = kept as u32;
        candidate.count = count;
    }

    /// Makes a token of a pair wherever it stands, from the left, and lists the pairs that this makes.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error::Interrupted), [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    fn merge(&mut self, candidate: &Candidate, control: &Control) -> Result<()> {
        let Candidate { pair, first, num_occurrences, .. } = *candidate;
        let merged = self.tokens.push_merged(pair)?;
        self.words.push_token(pair)?;
        let (mut before, mut after) = (std::mem::take(&mut self.before), std::mem::take(&mut self.after));
        memory::reserve(&mut before, num_occurrences as usize)?;
        memory::reserve(&mut after, num_occurrences as usize)?;
        for index in 0..num_occurrences as usize {
            if index % (1 << 20) == 0 {
                control.check()?;
            }
            if let Some(later) = self.occurrences.get(first + index + AHEAD) {
                self.words.prefetch(*later);
            }
            let occurrence = self.occurrences[first + index];
            // Of overlapping ones (`a a a`) the first has taken the second's token.
            if !self.words.holds(pair, occurrence) {
                continue;
            }
            let neighbours: Neighbours = self.words.merge(pair, merged, occurrence);
            // If the neighbour behind is merged too, a moment later, the pair with it stands here no more. It is
            // listed all the same and found to be gone when it is counted.
            before.extend(neighbours.before.map(|(other, occurrence)| Event { other, occurrence }));
            after.extend(neighbours.after.map(|(other, occurrence)| Event { other, occurrence }));
        }
        // This one first: where the pair stands twice in a row, its new pair with its left token goes again below.
        self.list(&after, |other| (merged, other), |other| (pair.1, other))?;
        self.list(&before, |other| (other, merged), |other| (other, pair.0))?;
        self.old.set(pair, 0);
        before.clear();
        after.clear();
        (self.before, self.after) = (before, after);
        Ok(())
    }

    /// Puts the pairs that events tell of into the queue, except those below the threshold.
    fn list(
        &mut self,
        events: &[Event],
        pair_with: impl Fn(u32) -> (u32, u32),
        gone_with: impl Fn(u32) -> (u32, u32),
    ) -> Result<()> {
        let Groups { by_other, others } = &mut self.groups;
        memory::resize(by_other, self.tokens.len(), Group::default())?;
        for event in events {
            let group = &mut by_other[event.other as usize];
            if group.num_occurrences == 0 {
                memory::push(others, event.other)?;
            }
            group.num_occurrences += 1;
            group.count += self.words.weight(event.occurrence);
        }
        for &other in &*others {
            let group = &mut by_other[other as usize];
            let pair = pair_with(other);
            self.old.set(pair, group.count);
            if let Some(count) = self.old.get(gone_with(other)) {
                *count = count.wrapping_sub(group.count);
            }
            if group.count < self.threshold || !self.limits.allow(pair, &self.tokens) {
                continue;
            }
            group.is_listed = true;
            group.next = self.occurrences.len();
            let Group { count, num_occurrences, next: first, .. } = *group;
            memory::resize(&mut self.occurrences, first + num_occurrences as usize, Occurrence::default())?;
            self.queue.push(Candidate { count, pair, first, num_occurrences }, &self.tokens)?;
        }
        for event in events {
            let group = &mut by_other[event.other as usize];
            if group.is_listed {
                self.occurrences[group.next] = event.occurrence;
                group.next += 1;
            }
        }
        for other in others.drain(..) {
            by_other[other as usize] = Group::default();
        }
        Ok(())
    }

    /// Goes through all words and lists the pairs from a new threshold on.
    fn list_all(&mut self, threshold: u64, control: &Control) -> Result<()> {
        self.threshold = threshold;
        self.queue = Queue::new();
        self.occurrences = Vec::new();
        if self.tokens.len() == 256 {
            return self.list_bytes(control);
        }
        let mut num_by_left = memory::filled(0, self.tokens.len())?;
        self.words.for_each_pair(|| control.check(), |left, _, _| num_by_left[left as usize] += 1)?;

        // Sorted by the left token, so many at a time as are held in memory, and then grouped by the right one.
        let mut sorted: Vec<Event> = Vec::new();
        let mut nexts = memory::filled(0, self.tokens.len())?;
        let mut left = 0;
        while left < num_by_left.len() {
            let first_left = left;
            let mut num_events = 0;
            while left < num_by_left.len() && (left == first_left || num_events + num_by_left[left] <= BATCH) {
                nexts[left] = num_events;
                num_events += num_by_left[left];
                left += 1;
            }
            let lefts = first_left as u32..left as u32;
            memory::resize(&mut sorted, num_events, Event::default())?;
            self.words.for_each_pair(
                || control.check(),
                |left, other, occurrence| {
                    if lefts.contains(&left) {
                        let next = &mut nexts[left as usize];
                        sorted[*next] = Event { other, occurrence };
                        *next += 1;
                    }
                },
            )?;
            let mut start = 0;
            for left in lefts {
                let end = nexts[left as usize];
                self.list(&sorted[start..end], |other| (left, other), |_| (u32::MAX, u32::MAX))?;
                start = end;
            }
        }
        Ok(())
    }

    /// [`list_all`](Self::list_all) while there are only bytes: with a place for each pair nothing needs sorting.
    fn list_bytes(&mut self, control: &Control) -> Result<()> {
        let mut groups = memory::filled(Group::default(), 1 << 16)?;
        let index = |left: u32, right: u32| (left << 8 | right) as usize;
        let check = || control.check();
        self.words.for_each_pair(check, |left, right, occurrence| {
            let group = &mut groups[index(left, right)];
            group.num_occurrences += 1;
            group.count += self.words.weight(occurrence);
        })?;
        let mut end = 0;
        for pair in (0..256).flat_map(|left| (0..256).map(move |right| (left, right))) {
            let group = &mut groups[index(pair.0, pair.1)];
            let Group { count, num_occurrences, .. } = *group;
            self.old.set(pair, count);
            if num_occurrences == 0 || count < self.threshold || !self.limits.allow(pair, &self.tokens) {
                continue;
            }
            group.is_listed = true;
            group.next = end;
            self.queue.push(Candidate { count, pair, first: end, num_occurrences }, &self.tokens)?;
            end += num_occurrences as usize;
        }
        self.occurrences = memory::filled(Occurrence::default(), end)?;
        self.words.for_each_pair(check, |left, right, occurrence| {
            let group = &mut groups[index(left, right)];
            if group.is_listed {
                self.occurrences[group.next] = occurrence;
                group.next += 1;
            }
        })
    }
}
