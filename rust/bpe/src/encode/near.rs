//! The ids of the pretokens that come often, in a table so small that it is always at hand.
//!
//! It never grows: where a pretoken would stand is known from its hash alone, without a look at the table.

use super::cache::{Bucket, Entry};
use crate::raw::zeroed::{CacheLines, Zeroed};

/// 512 KiB: half of what the smallest second-level caches hold.
const NUM_BUCKETS: usize = 1 << 13;

/// Where pretokens of up to 15 bytes stand, two to a cache line.
pub(super) type Buckets = [Bucket<u128, 4>; NUM_BUCKETS];

/// What there is where there was no memory: everything still works, only slower.
static NOTHING: Buckets = [CacheLines([(0, [0; 4]); 2]); NUM_BUCKETS];

#[derive(Debug)]
pub(crate) struct NearTable {
    buckets: Zeroed<Bucket<u128, 4>>,
    num_inserted: u32,
}

impl NearTable {
    pub(super) const BYTES: usize = size_of::<Buckets>();

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
    pub(super) fn put(&mut self, hash: u32, entry: Entry<u128, 4>) {
        let Some(CacheLines(entries)) = self.buckets.get_mut(Self::index(hash)) else { return };
        self.num_inserted = self.num_inserted.wrapping_add(1);
        if entries[0].0 == 0 || self.num_inserted.is_multiple_of(8) {
            entries[0] = if entries[0].0 == 0 { entry } else { entries[1] };
        }
        entries[1] = entry;
    }
}
