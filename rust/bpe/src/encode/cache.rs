//! What was merged once is looked up ever after: bounded tables from pretokens to ids.
//!
//! In English, 16,000 words are 95 % of a text, and 100,000 the rest. A table of all of them is larger than the cache of
//! a core, and what is not there takes a hundred nanoseconds to come. So the words that come often stand in a small
//! table, too, which is looked at first. One table whose lines are asked for 256 pretokens ahead took 15 % longer.
//!
//! How much memory a table touches matters as well: the first touch of 2 MiB takes as long as to encode some 30 kB, and
//! several times that where the host of a virtual machine has to find it first. So tables begin small and are half
//! full, not a quarter, before they grow.

use super::near::NearTable;
use super::waiting::Waiting;
use crate::raw::zeroed::{AllZero, CacheLines, Zeroed};
use crate::word_key;

/// The bound on the memory of one cache, in bytes. Every thread that encodes at the same time uses one.
pub const CACHE_BYTES: usize = NearTable::BYTES
    + ShortTable::MAX_BYTES
    + LongTable::MAX_BYTES
    + Waiting::MAX_BYTES
    + MAX_SCRATCH * size_of::<u32>();

/// The ids of a short text that are kept room for.
pub(super) const MAX_SCRATCH: usize = 1 << 16;

/// The ids of pretokens of up to 15 bytes, two of which share a cache line: of half a million at most.
pub(crate) type ShortTable = Table<u128, 4, { 1 << 15 }, { 1 << 18 }>;
/// The ids of those of 16 to 31 bytes, one to a line.
pub(crate) type LongTable = Table<[u128; 2], 8, { 1 << 14 }, { 1 << 15 }>;

/// The ids of pretokens of up to 31 bytes.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) near: NearTable,
    pub(crate) short: ShortTable,
    pub(crate) long: LongTable,
    pub(super) waiting: Box<Waiting>,
    /// Where the ids of short texts are put together.
    pub(super) scratch: Vec<u32>,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self {
            near: NearTable::new(),
            short: Table::new(),
            long: Table::new(),
            waiting: Box::default(),
            scratch: Vec::new(),
        }
    }
}

/// A packed byte string (see [`word_key`]); all zero bits stand for none.
pub(crate) trait Key: Copy + Eq + Default + AllZero {
    fn hash(self) -> u32;
}

impl Key for u128 {
    #[inline]
    fn hash(self) -> u32 {
        word_key::hash(self) as u32
    }
}

impl Key for [u128; 2] {
    #[inline]
    fn hash(self) -> u32 {
        (word_key::hash(self[0]) ^ word_key::hash(self[1]).rotate_left(32)) as u32
    }
}

/// A key and places. The last of these is the number of ids; the others are the ids if these are not more, or else
/// `places[0]` is where they begin in the overflow.
pub(super) type Entry<K, const PLACES: usize> = (K, [u32; PLACES]);

/// Two ways to go for a pretoken.
pub(super) type Bucket<K, const PLACES: usize> = CacheLines<[Entry<K, PLACES>; 2]>;

/// The places of a key's entry if it stands in this bucket; what they are means nothing unless the second says so.
///
/// Without a branch on which of the two ways it is: that took a fifth of the time of a lookup.
#[inline]
pub(super) fn look_up<K: Key, const PLACES: usize>(
    CacheLines(entries): &Bucket<K, PLACES>,
    key: K,
) -> ([u32; PLACES], bool) {
    let is_second = entries[1].0 == key;
    let is_first = entries[0].0 == key;
    (entries[usize::from(is_second)].1, is_first | is_second)
}

/// A table that grows from `2 * MIN_BUCKETS` to `2 * MAX_BUCKETS` entries.
#[derive(Debug)]
pub(crate) struct Table<K, const PLACES: usize, const MIN_BUCKETS: usize, const MAX_BUCKETS: usize> {
    /// A power of two; none where there was no memory for them: everything still works, only slower.
    buckets: Zeroed<Bucket<K, PLACES>>,
    overflow: Vec<u32>,
    /// Entries put in since the table has had its size.
    num_inserted: usize,
}

impl<K: Key, const PLACES: usize, const MIN_BUCKETS: usize, const MAX_BUCKETS: usize>
    Table<K, PLACES, MIN_BUCKETS, MAX_BUCKETS>
{
    /// The most ids that stand in an entry itself.
    pub(crate) const INLINE: usize = PLACES - 1;
    /// The most ids that are held for entries of more.
    const MAX_OVERFLOW: usize = 8 * MAX_BUCKETS;
    const MAX_BYTES: usize = MAX_BUCKETS * size_of::<Bucket<K, PLACES>>() + Self::MAX_OVERFLOW * size_of::<u32>();

    fn new() -> Self {
        Self { buckets: Zeroed::new(MIN_BUCKETS).unwrap_or_default(), overflow: Vec::new(), num_inserted: 0 }
    }

    #[inline]
    fn index(&self, hash: u32) -> usize {
        hash as usize & self.buckets.len().wrapping_sub(1)
    }

    /// Asks for what a key of this hash will need from memory; few need the bucket beside theirs.
    #[inline]
    pub(super) fn prefetch(&self, hash: u32) {
        if let Some(bucket) = self.buckets.get(self.index(hash)) {
            crate::raw::prefetch(bucket);
        }
    }

    /// The places of the entry of a key, whose hash this is.
    #[inline]
    pub(super) fn find(&self, hash: u32, key: K) -> Option<[u32; PLACES]> {
        let index = self.index(hash);
        let own = self.buckets.get(index)?;
        match look_up(own, key) {
            (places, true) => Some(places),
            _ if own.0[1].0 == K::default() => None, // it would stand here
            _ => match look_up(self.buckets.get(index ^ 1)?, key) {
                (places, true) => Some(places),
                _ => None,
            },
        }
    }

    /// The ids of an entry that was found.
    #[inline]
    pub(crate) fn ids<'a>(&'a self, places: &'a [u32; PLACES]) -> &'a [u32] {
        let length = places[PLACES - 1] as usize;
        if length <= Self::INLINE { &places[..length] } else { &self.overflow[places[0] as usize..][..length] }
    }

    /// Remembers the ids of a key.
    pub(crate) fn insert(&mut self, hash: u32, key: K, ids: &[u32]) {
        let mut places = [0; PLACES];
        places[PLACES - 1] = ids.len() as u32;
        if ids.len() <= Self::INLINE {
            places[..ids.len()].copy_from_slice(ids);
        } else {
            if self.overflow.len() + ids.len() > Self::MAX_OVERFLOW {
                self.overflow.clear();
                self.buckets = Zeroed::new(self.buckets.len()).unwrap_or_default();
            }
            if self.overflow.capacity() - self.overflow.len() < ids.len() {
                // Twice as many, but not more than the bound.
                let additional = self.overflow.len().max(1 << 10).min(Self::MAX_OVERFLOW - self.overflow.len());
                if self.overflow.try_reserve_exact(additional).is_err() {
                    return;
                }
            }
            places[0] = self.overflow.len() as u32;
            self.overflow.extend_from_slice(ids);
        }
        self.num_inserted += 1;
        // When there are as many entries as buckets, one in thirty finds no room.
        if self.num_inserted > self.buckets.len() && self.buckets.len() < MAX_BUCKETS {
            self.grow();
        }
        self.put(hash, (key, places));
    }

    /// Into the bucket of its key or the one beside it. If both are full, it drives out the second of its own: what came
    /// first in most texts is what comes often, so that what occurs once does not drive out what occurs often. Now and
    /// then the first goes, too, for a text may change.
    fn put(&mut self, hash: u32, entry: Entry<K, PLACES>) {
        let index = self.index(hash);
        for index in [index, index ^ 1] {
            let Some(CacheLines(entries)) = self.buckets.get_mut(index) else { return };
            if let Some(place) = entries.iter_mut().find(|(key, _)| *key == entry.0 || *key == K::default()) {
                *place = entry;
                return;
            }
        }
        let CacheLines(entries) = &mut self.buckets[index];
        if self.num_inserted.is_multiple_of(8) {
            entries[0] = entries[1];
        }
        entries[1] = entry;
    }

    fn grow(&mut self) {
        let Some(larger) = Zeroed::new(2 * self.buckets.len()) else { return };
        let smaller = std::mem::replace(&mut self.buckets, larger);
        self.num_inserted = 0;
        for entry in smaller.iter().flat_map(|CacheLines(entries)| entries).filter(|entry| entry.0 != K::default()) {
            self.put(entry.0.hash(), *entry);
            self.num_inserted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids_of(number: u32) -> Vec<u32> {
        (0..=number % 15).map(|index| number ^ index).collect()
    }

    fn found<K: Key, const P: usize, const M: usize, const N: usize>(
        table: &Table<K, P, M, N>,
        key: K,
    ) -> Option<Vec<u32>> {
        table.find(key.hash(), key).map(|places| table.ids(&places).to_vec())
    }

    fn remembers_what_it_was_told<K: Key, const P: usize, const M: usize, const N: usize>(key: impl Fn(u32) -> K) {
        let mut table = Table::<K, P, M, N>::new();
        let mut num_found = 0;
        for number in 0..400_000 {
            table.insert(key(number).hash(), key(number), &ids_of(number));
            assert_eq!(found(&table, key(number)), Some(ids_of(number)));
            let earlier = number / 2;
            if let Some(ids) = found(&table, key(earlier)) {
                assert_eq!(ids, ids_of(earlier));
                num_found += 1;
            }
        }
        assert!(num_found > 1_000, "{num_found}");
        assert!(table.overflow.capacity() <= Table::<K, P, M, N>::MAX_OVERFLOW);
    }

    #[test]
    fn what_is_found_is_what_was_put_in_whatever_was_forgotten() {
        remembers_what_it_was_told::<_, 4, { 1 << 10 }, { 1 << 14 }>(|number| {
            word_key::pack(&number.to_le_bytes(), &(0..4)).expect("short")
        });
        remembers_what_it_was_told::<_, 8, { 1 << 10 }, { 1 << 12 }>(|number| {
            word_key::pack_long(&number.to_le_bytes().repeat(5), &(0..20)).expect("long")
        });
    }

    #[test]
    fn a_key_that_is_put_in_twice_stands_once() {
        let mut table = ShortTable::new();
        for number in [7, 8, 7, 9, 9] {
            table.insert(number.hash(), number, &[number as u32]);
        }
        assert_eq!([7, 8, 9].map(|key| found(&table, key)), [7, 8, 9].map(|id| Some(vec![id])));
        assert_eq!(table.buckets.iter().flat_map(|bucket| bucket.0).filter(|entry| entry.0 == 7).count(), 1);
    }
}
