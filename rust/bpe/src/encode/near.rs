//! The ids of the pretokens that come often, in a table so small that it is always at hand.
//!
//! It never grows: where a pretoken would stand is known from its hash alone, without a look at the table.

use crate::raw::zeroed::{CacheLines, HUGE_PAGE, Zeroed};

/// The most ids of an entry.
pub(super) const MAX_IDS: usize = 3;
/// A key, its ids and their number; nothing where that is 0.
pub(super) type Entry = (u128, [u32; MAX_IDS + 1]);
/// Two ways to go for a pretoken.
pub(super) type Bucket = CacheLines<[Entry; 2]>;

/// The ids of a key and their number if it stands in this bucket; what they are means nothing unless the second says so.
///
/// Without a branch on which of the two ways it is: that took a fifth of the time of a lookup.
#[inline]
pub(super) fn look_up(CacheLines(entries): &Bucket, key: u128) -> ([u32; MAX_IDS + 1], bool) {
    let is_second = entries[1].0 == key;
    let is_first = entries[0].0 == key;
    (entries[usize::from(is_second)].1, is_first | is_second)
}

/// 512 KiB: half of what the smallest second-level caches hold.
const NUM_BUCKETS: usize = 1 << 13;

/// Where pretokens of up to 15 bytes stand, two to a cache line.
pub(super) type Buckets = [Bucket; NUM_BUCKETS];

/// What there is where there was no memory: everything still works, only slower.
static NOTHING: Buckets = [CacheLines([(0, [0; 4]); 2]); NUM_BUCKETS];

#[derive(Debug)]
pub(crate) struct NearTable {
    buckets: Zeroed<Bucket>,
    num_inserted: u32,
}

impl NearTable {
    /// With what is left of its huge page.
    pub(super) const BYTES: usize = size_of::<Buckets>().next_multiple_of(HUGE_PAGE);

    pub(super) fn new() -> Self {
        Self { buckets: Zeroed::new(NUM_BUCKETS).unwrap_or_default(), num_inserted: 0 }
    }

    #[inline]
    pub(super) fn buckets(&self) -> &Buckets {
        self.buckets.first_chunk().unwrap_or(&NOTHING)
    }

    /// The index of the bucket of a key of this hash.
    #[inline]
    pub(super) fn index(hash: u32) -> usize {
        hash as usize % NUM_BUCKETS
    }

    /// Puts an entry that is not there into its bucket. It drives out the second that stands there: what came first in
    /// most texts is what comes often, so that what occurs once does not drive out what occurs often. Now and then the
    /// first goes, too, for a text may change.
    #[inline]
    pub(super) fn put(&mut self, hash: u32, entry: Entry) {
        let Some(CacheLines(entries)) = self.buckets.get_mut(Self::index(hash)) else { return };
        self.num_inserted = self.num_inserted.wrapping_add(1);
        if entries[0].0 == 0 || self.num_inserted.is_multiple_of(8) {
            entries[0] = if entries[0].0 == 0 { entry } else { entries[1] };
        }
        entries[1] = entry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(table: &NearTable, hash: u32, key: u128) -> Option<[u32; 4]> {
        match look_up(&table.buckets()[NearTable::index(hash)], key) {
            (places, true) => Some(places),
            (_, false) => None,
        }
    }

    #[test]
    fn what_is_found_is_what_was_put_in() {
        let mut table = NearTable::new();
        let mut num_found = 0;
        for number in 1..=100_000_u32 {
            let (hash, key) = (number.wrapping_mul(0x9E37_79B9) >> 7, u128::from(number));
            table.put(hash, (key, [number; 4]));
            assert_eq!(ids(&table, hash, key), Some([number; 4]));
            let earlier = number.div_ceil(2);
            let places = ids(&table, earlier.wrapping_mul(0x9E37_79B9) >> 7, u128::from(earlier));
            assert!(places.is_none_or(|places| places == [earlier; 4]));
            num_found += usize::from(places.is_some());
        }
        assert!((1_000..100_000).contains(&num_found), "{num_found}");
    }

    #[test]
    fn a_frequent_pretoken_stays_while_rare_ones_come_and_go() {
        let mut table = NearTable::new();
        table.put(7, (1, [1; 4]));
        for key in 2..9 {
            table.put(7, (key, [2; 4]));
            assert!(ids(&table, 7, 1).is_some() || key == 8, "{key}");
        }
    }

    #[test]
    fn without_memory_nothing_is_found() {
        let mut table = NearTable { buckets: Zeroed::default(), num_inserted: 0 };
        table.put(7, (1, [1; 4]));
        assert_eq!(ids(&table, 7, 1), None);
    }
}
