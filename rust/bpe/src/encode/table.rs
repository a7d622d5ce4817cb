//! Ids by pretoken, in a table that many threads read and fill at the same time.
//!
//! Without locks: an entry is written once, and nothing of it changes but the count of how often it was met. Whoever
//! has ids to put in claims a free entry by an exchange of one word, the last of the key, then writes the other words and
//! at last that one. Who reads it there reads after it what was written before it. Two threads that merge the same
//! pretoken at the same time may put it in twice, which does no harm: their ids are the same.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::apart::{Apart, Ids};
use super::key::Key;
use crate::error::Result;
use crate::memory::reserve;
use crate::raw::zeroed::{CacheLines, Zeroed};

/// The words of a cache line.
const LINE: usize = 8;
type Line = CacheLines<[AtomicU64; LINE]>;

/// The lines that may be looked at: of those that find no room, each is merged whenever it is met.
const PROBED: usize = 8;
/// The least lines.
const MIN_LINES: usize = 1 << 14;
/// The ids that stand apart for each of the most lines.
const APART: usize = 8;

/// Stands for the last word of the key in an entry that is free, and in one that is being written.
const FREE: u64 = 0;
const CLAIMED: u64 = u64::MAX;

/// In the last place of an entry, how often the pretoken was met, up to twice.
const TIMES_MET: u32 = 3 << 30;
const ONCE: u32 = 1 << 30;
const TWICE: u32 = 2 << 30;

/// The ids of pretokens, each in an entry of a key and places, one or two to a cache line.
///
/// The last of the places is the number of ids; the others are the ids if these are not more, or else the first place is
/// where they begin among those that stand apart.
#[derive(Debug)]
pub(super) struct Table<K, const PLACES: usize> {
    /// A power of two; none where there was no memory for them: everything still works, only slower.
    lines: Zeroed<Line>,
    /// On a line of its own: it is written while all others are read.
    num_entries: CacheLines<AtomicUsize>,
    /// Those of them that were there before any was learnt.
    num_prepared: usize,
    apart: Arc<Apart>,
    /// Unless there was no memory for another one.
    may_be_renewed: AtomicBool,
    keys: PhantomData<K>,
}

impl<K: Key, const PLACES: usize> Table<K, PLACES> {
    /// The words of an entry: those of the key, then the places.
    const ENTRY: usize = K::NUM_WORDS + PLACES / 2;
    const WAYS: usize = LINE / Self::ENTRY;
    const LAST_OF_KEY: usize = K::NUM_WORDS - 1;

    /// The bound on its memory, in bytes.
    pub(super) const MAX_BYTES: usize = K::MAX_LINES * (size_of::<Line>() + APART * size_of::<AtomicU32>());

    /// With room for so many keys and as many more, if that is not too much.
    pub(super) fn with_room(num_keys: usize) -> Self {
        let num_lines = (4 * num_keys / Self::WAYS).next_power_of_two();
        Self::new(num_lines.clamp(MIN_LINES, K::MAX_LINES), Arc::new(Apart::new(APART * K::MAX_LINES)))
    }

    /// Where there is no room.
    pub(super) fn nothing() -> Self {
        Self::new(0, Arc::new(Apart::new(0)))
    }

    fn new(num_lines: usize, apart: Arc<Apart>) -> Self {
        Self {
            lines: Zeroed::new(num_lines).unwrap_or_default(),
            num_entries: CacheLines(AtomicUsize::new(0)),
            num_prepared: 0,
            apart,
            may_be_renewed: AtomicBool::new(true),
            keys: PhantomData,
        }
    }

    /// For a loop of lookups, which then need not ask again where the table is.
    #[inline]
    pub(super) fn lines(&self) -> Lines<'_, K, PLACES> {
        Lines { lines: &self.lines, keys: PhantomData }
    }

    /// The places of a key, whose hash this is.
    #[inline]
    pub(super) fn find(&self, hash: u32, key: K) -> Option<[u32; PLACES]> {
        self.lines().find(hash, key).map(|(places, _)| places)
    }

    /// And how often it was met.
    #[inline]
    fn places(entry: &[AtomicU64]) -> ([u32; PLACES], u32) {
        let mut places = [0; PLACES];
        for (pair, word) in places.chunks_exact_mut(2).zip(&entry[K::NUM_WORDS..]) {
            let word = word.load(Ordering::Relaxed);
            (pair[0], pair[1]) = (word as u32, (word >> 32) as u32);
        }
        let times_met = places[PLACES - 1] & TIMES_MET;
        places[PLACES - 1] -= times_met;
        (places, times_met)
    }

    /// Counts one time more than an entry was met when its places were read, which is not twice. What others count at
    /// the same time may be lost, but nothing comes to more than twice.
    #[inline]
    fn count(entry: &[AtomicU64], places: &[u32; PLACES], times_met: u32) {
        let last = word_of(places[PLACES - 2], places[PLACES - 1] | (times_met + ONCE));
        entry[Self::ENTRY - 1].store(last, Ordering::Relaxed);
    }

    /// Appends the ids of an entry that was found.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub(super) fn append_ids(&self, places: &[u32; PLACES], out: &mut Vec<u32>) -> Result<()> {
        let length = places[PLACES - 1] as usize;
        reserve(out, length)?;
        match Ids::of(places) {
            None => out.extend_from_slice(&places[..length]),
            Some(ids) => out.extend(self.apart.ids(ids)),
        }
        Ok(())
    }

    #[inline]
    pub(super) fn apart(&self) -> &Apart {
        &self.apart
    }

    /// Remembers the ids of a pretoken that was met, if there is room.
    pub(super) fn learn(&self, hash: u32, key: K, ids: &[u32]) {
        let Some(entry) = self.claim(hash, key) else { return };
        let Some(mut places) = self.apart.places::<PLACES>(ids.iter().copied()) else {
            entry[Self::LAST_OF_KEY].store(FREE, Ordering::Relaxed);
            return;
        };
        places[PLACES - 1] |= ONCE;
        for (index, word) in entry[..Self::LAST_OF_KEY].iter().enumerate() {
            word.store(key.word(index), Ordering::Relaxed);
        }
        for (pair, word) in places.chunks_exact(2).zip(&entry[K::NUM_WORDS..]) {
            word.store(word_of(pair[0], pair[1]), Ordering::Relaxed);
        }
        entry[Self::LAST_OF_KEY].store(key.word(Self::LAST_OF_KEY), Ordering::Release);
        self.num_entries.0.fetch_add(1, Ordering::Relaxed);
    }

    /// A free entry for a key, to be written by the caller alone; none if there is no room, or the key is there.
    fn claim(&self, hash: u32, key: K) -> Option<&[AtomicU64]> {
        for entry in self.lines().all(hash).flat_map(|line| line.chunks_exact(Self::ENTRY)) {
            let last_of_key = &entry[Self::LAST_OF_KEY];
            match last_of_key.compare_exchange(FREE, CLAIMED, Ordering::Relaxed, Ordering::Acquire) {
                Ok(_) => return Some(entry),
                Err(last) => {
                    let is_same = |index: usize| entry[index].load(Ordering::Relaxed) == key.word(index);
                    if last == key.word(Self::LAST_OF_KEY) && (0..Self::LAST_OF_KEY).all(is_same) {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Remembers the ids of a pretoken that was not met yet, while no other thread knows of the table.
    pub(super) fn prepare(&mut self, hash: u32, key: K, ids: &[u32]) {
        if let Some(places) = self.apart.places(ids.iter().copied()) {
            self.put_alone(hash, key, &places);
            self.num_prepared = *self.num_entries.0.get_mut();
        }
    }

    /// Whether there is more than what was prepared.
    pub(super) fn has_learnt(&self) -> bool {
        self.num_entries.0.load(Ordering::Relaxed) > self.num_prepared
    }

    fn put_alone(&mut self, hash: u32, key: K, places: &[u32; PLACES]) {
        let index = self.lines().index(hash);
        for other in 0..PROBED {
            let Some(CacheLines(line)) = self.lines.get_mut(index ^ other) else { return };
            for entry in line.chunks_exact_mut(Self::ENTRY) {
                if *entry[Self::LAST_OF_KEY].get_mut() == FREE {
                    let places = places.chunks_exact(2).map(|pair| word_of(pair[0], pair[1]));
                    let words = (0..K::NUM_WORDS).map(|index| key.word(index)).chain(places);
                    entry.iter_mut().zip(words).for_each(|(to, word)| *to.get_mut() = word);
                    *self.num_entries.0.get_mut() += 1;
                    return;
                }
            }
        }
    }

    /// Whether every other entry is taken.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        let is_full = self.num_entries.0.load(Ordering::Relaxed) > self.lines.len() * Self::WAYS / 2;
        (is_full || self.apart.is_full()) && self.may_be_renewed.load(Ordering::Relaxed)
    }

    /// What is to be used when it is full: with twice the room; or, if there must not be more, with what was met twice,
    /// as far as that is at most half of what there is room for.
    ///
    /// `None` if there is no memory for it.
    pub(super) fn renewed(&self) -> Option<Self> {
        let num_lines = self.lines.len();
        let is_larger = num_lines < K::MAX_LINES && !self.apart.is_full();
        let mut renewed = if is_larger {
            Self::new(2 * num_lines, Arc::clone(&self.apart))
        } else {
            Self::new(num_lines, Arc::new(Apart::new(APART * K::MAX_LINES)))
        };
        if renewed.lines.is_empty() {
            self.may_be_renewed.store(false, Ordering::Relaxed);
            return None;
        }
        if is_larger {
            for (key, mut places, times_met) in self.entries() {
                places[PLACES - 1] |= times_met;
                renewed.put_alone(key.hash(), key, &places);
            }
        } else {
            let met_again = self.entries().filter(|(_, _, times_met)| *times_met == TWICE);
            for (key, places, _) in met_again.take(num_lines * Self::WAYS / 4) {
                let places = match Ids::of(&places) {
                    Some(range) => renewed.apart.places(self.apart.ids(range)),
                    None => Some(places),
                };
                if let Some(places) = places {
                    renewed.put_alone(key.hash(), key, &places);
                }
            }
        }
        Some(renewed)
    }

    /// The keys and places of all entries, and how often they were met.
    fn entries(&self) -> impl Iterator<Item = (K, [u32; PLACES], u32)> {
        let entries = self.lines.iter().flat_map(|CacheLines(line)| line.chunks_exact(Self::ENTRY));
        entries.filter_map(|entry| {
            let last_of_key = entry[Self::LAST_OF_KEY].load(Ordering::Acquire);
            let is_whole = last_of_key != FREE && last_of_key != CLAIMED;
            is_whole.then(|| {
                let (places, times_met) = Self::places(entry);
                (K::from_words(|index| entry[index].load(Ordering::Relaxed)), places, times_met)
            })
        })
    }
}

/// Two places.
#[inline]
fn word_of(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// The entries of a table.
#[derive(Clone, Copy)]
pub(super) struct Lines<'t, K, const PLACES: usize> {
    lines: &'t [Line],
    keys: PhantomData<K>,
}

impl<'t, K: Key, const PLACES: usize> Lines<'t, K, PLACES> {
    #[inline]
    fn index(self, hash: u32) -> usize {
        hash as usize & self.lines.len().wrapping_sub(1)
    }

    /// The lines on which a key of this hash may stand, in the order in which they are filled.
    #[inline]
    fn all(self, hash: u32) -> impl Iterator<Item = &'t [AtomicU64; LINE]> {
        let index = self.index(hash);
        (0..PROBED).filter_map(move |other| Some(&self.lines.get(index ^ other)?.0))
    }

    /// Asks for what a key of this hash will need from memory; few need the line beside theirs.
    #[inline]
    pub(super) fn prefetch(self, hash: u32) {
        if let Some(line) = self.lines.get(self.index(hash)) {
            crate::raw::prefetch(line);
        }
    }

    /// The places of a key, whose hash this is, and whether it was met before.
    #[inline]
    pub(super) fn find(self, hash: u32, key: K) -> Option<([u32; PLACES], bool)> {
        for line in self.all(hash) {
            let found = Self::find_in(line, key);
            let last = &line[LINE - Table::<K, PLACES>::ENTRY + Table::<K, PLACES>::LAST_OF_KEY];
            if found.is_some() || last.load(Ordering::Relaxed) == FREE {
                return found; // it would stand here
            }
        }
        None
    }

    #[inline]
    fn find_in(line: &[AtomicU64; LINE], key: K) -> Option<([u32; PLACES], bool)> {
        let last_of_key = Table::<K, PLACES>::LAST_OF_KEY;
        let entry = line.chunks_exact(Table::<K, PLACES>::ENTRY).find(|entry| {
            let last = entry[last_of_key].load(Ordering::Acquire);
            let differing = (0..last_of_key).fold(last ^ key.word(last_of_key), |bits, index| {
                bits | entry[index].load(Ordering::Relaxed) ^ key.word(index)
            });
            differing == 0
        })?;
        let (places, times_met) = Table::<K, PLACES>::places(entry);
        if times_met < TWICE {
            Table::<K, PLACES>::count(entry, &places, times_met);
        }
        Some((places, times_met > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::word_key;

    type Short = Table<u128, 4>;

    fn key_of(number: u32) -> u128 {
        word_key::pack(&number.to_le_bytes(), &(0..4)).expect("short")
    }

    fn long_key_of(number: u32) -> [u128; 2] {
        word_key::pack_long(&number.to_le_bytes().repeat(5), &(0..20)).expect("long")
    }

    fn ids_of(number: u32) -> Vec<u32> {
        (0..=number % 15).map(|index| number ^ index).collect()
    }

    fn found<K: Key, const PLACES: usize>(table: &Table<K, PLACES>, key: K) -> Option<Vec<u32>> {
        let mut ids = Vec::new();
        table.append_ids(&table.find(key.hash(), key)?, &mut ids).unwrap();
        Some(ids)
    }

    /// Fills tables that are renewed when they are full, until they must not grow; returns how many of what was put in
    /// half as long ago as all are found.
    fn num_found<K: Key, const PLACES: usize>(key_of: impl Fn(u32) -> K) -> usize {
        let mut table = Table::<K, PLACES>::with_room(0);
        let mut num_found = 0;
        for number in 0..1_200_000 {
            let key = key_of(number);
            table.learn(key.hash(), key, &ids_of(number));
            if table.is_full() {
                table = table.renewed().unwrap();
                assert!(!table.is_full());
            }
            if let Some(ids) = found(&table, key_of(number / 2)) {
                assert_eq!(ids, ids_of(number / 2));
                num_found += 1;
            }
        }
        assert_eq!(table.lines.len(), K::MAX_LINES);
        num_found
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes hours there")]
    fn what_is_found_is_what_was_put_in_whatever_was_forgotten() {
        let num_found = [num_found::<_, 4>(key_of), num_found::<_, 8>(long_key_of)];
        assert!(num_found.iter().all(|num_found| *num_found > 100_000), "{num_found:?}");
    }

    #[test]
    fn a_key_that_is_put_in_twice_stands_once() {
        let table = Short::with_room(0);
        assert!(!table.has_learnt());
        for number in [7, 8, 7, 9, 9] {
            table.learn(key_of(number).hash(), key_of(number), &[number]);
        }
        assert!(table.has_learnt());
        assert_eq!([7, 8, 9].map(|number| found(&table, key_of(number))), [7, 8, 9].map(|id| Some(vec![id])));
        assert_eq!(table.entries().count(), 3);
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes there")]
    fn what_was_asked_for_is_kept() {
        let table = Short::with_room(0);
        for number in 0..1_000 {
            table.learn(key_of(number).hash(), key_of(number), &ids_of(number));
        }
        assert_eq!(found(&table, key_of(77)), Some(ids_of(77)));
        let renewed = table.renewed().unwrap();
        assert_eq!(renewed.entries().count(), 1_000);
        let bounded = Short { apart: Arc::new(Apart::new(1)), ..Short::with_room(0) };
        bounded.learn(key_of(7).hash(), key_of(7), &[7]);
        bounded.learn(key_of(8).hash(), key_of(8), &[8]);
        bounded.learn(key_of(9).hash(), key_of(9), &[9; 5]);
        assert_eq!(found(&bounded, key_of(8)), Some(vec![8]));
        assert!(bounded.is_full());
        let renewed = bounded.renewed().unwrap();
        assert_eq!([7, 8, 9].map(|number| found(&renewed, key_of(number))), [None, Some(vec![8]), None]);
    }

    #[test]
    fn what_finds_no_entry_takes_no_room_for_its_ids() {
        let table = Short::new(PROBED, Arc::new(Apart::new(1 << 10)));
        let num_entries = (PROBED * Short::WAYS) as u32;
        for number in 0..num_entries {
            table.learn(key_of(number).hash(), key_of(number), &[number]);
        }
        for _ in 0..3 {
            table.learn(key_of(num_entries).hash(), key_of(num_entries), &[7; 600]);
        }
        assert_eq!((table.entries().count(), table.apart.is_full()), (num_entries as usize, false));
        assert_eq!(found(&table, key_of(num_entries)), None);
    }

    #[test]
    fn without_memory_nothing_is_found() {
        let table = Short::nothing();
        table.learn(key_of(7).hash(), key_of(7), &[7]);
        assert_eq!(found(&table, key_of(7)), None);
    }

    #[test]
    fn threads_that_count_at_the_same_time_come_to_twice_at_most() {
        let table = Short::with_room(0);
        let key = key_of(7);
        table.learn(key.hash(), key, &[1, 2, 3]);
        let line = table.lines().all(key.hash()).next().expect("there is room");
        let entry = &line[..Short::ENTRY];
        let read = [0; 4].map(|_| Short::places(entry));
        for (places, times_met) in read {
            assert_eq!((places, times_met), ([1, 2, 3, 3], ONCE));
            Short::count(entry, &places, times_met);
            assert_eq!(Short::places(entry), ([1, 2, 3, 3], TWICE));
        }
    }

    #[test]
    fn where_no_memory_stands_apart_a_table_is_not_always_full() {
        let table = Short::new(MIN_LINES, Arc::new(Apart::new(0)));
        for number in 0..100 {
            table.learn(key_of(number).hash(), key_of(number), &ids_of(number));
        }
        assert!(!table.is_full());
        assert_eq!([1, 3].map(|number| found(&table, key_of(number))), [Some(ids_of(1)), None]);
    }

    /// Few lines and many threads, which all put in and look for the same keys.
    #[test]
    fn threads_find_whole_entries_only() {
        let num_rounds = if cfg!(miri) { 1 } else { 20 };
        for _ in 0..num_rounds {
            let table = Short::new(1 << 6, Arc::new(Apart::new(1 << 12)));
            let fill = || {
                let mut num_found = 0;
                for number in (1..=100).cycle().take(100 * num_rounds) {
                    if let Some(ids) = found(&table, key_of(number)) {
                        assert_eq!(ids, ids_of(number));
                        num_found += 1;
                    } else {
                        table.learn(key_of(number).hash(), key_of(number), &ids_of(number));
                    }
                }
                num_found
            };
            let num_found =
                std::thread::scope(|scope| [0; 4].map(|_| scope.spawn(fill)).map(|thread| thread.join().unwrap()));
            assert!(num_found.iter().all(|num_found| *num_found > 50 * num_rounds || cfg!(miri)), "{num_found:?}");
        }
    }
}
