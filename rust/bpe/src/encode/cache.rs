//! What was merged once is looked up ever after: a bounded table from pretokens to ids.

use crate::{raw, word_key};

/// One cache line each; two ways to go for a pretoken.
const NUM_BUCKETS: usize = 1 << 16;
/// The greatest number of ids held for pretokens that have more than [`INLINE`] of them.
const MAX_OVERFLOW: usize = 1 << 20;
/// The most ids that stand in the entry itself.
pub(crate) const INLINE: usize = 3;

/// The bound on the memory of one cache, in bytes. Every thread that encodes at the same time uses one.
pub const CACHE_BYTES: usize = NUM_BUCKETS * size_of::<Bucket>() + MAX_OVERFLOW * size_of::<u32>();

#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Bucket([Entry; 2]);

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Entry {
    /// A packed pretoken; 0 where the entry is free.
    key: u128,
    /// The ids, or in `ids[0]` where they begin in the overflow.
    ids: [u32; INLINE],
    length: u32,
}

impl Entry {
    /// The number of ids.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.length as usize
    }

    /// The ids, if they number at most [`INLINE`]; what follows them means nothing.
    #[inline]
    pub(crate) fn places(&self) -> &[u32; INLINE] {
        &self.ids
    }
}

/// The ids of pretokens of up to 15 bytes. The ids of one pretoken number at most 15.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Empty where there was no memory for it: everything still works, only slower.
    buckets: Vec<Bucket>,
    overflow: Vec<u32>,
}

impl Cache {
    pub(crate) fn new() -> Self {
        let mut buckets = Vec::new();
        if buckets.try_reserve_exact(NUM_BUCKETS).is_ok() {
            buckets.resize(NUM_BUCKETS, Bucket::default());
        }
        Self { buckets, overflow: Vec::new() }
    }

    /// The bucket of a key, already on its way from memory.
    #[inline]
    pub(crate) fn bucket_of(&self, key: u128) -> usize {
        let bucket = word_key::hash(key) as usize & (NUM_BUCKETS - 1);
        if let Some(line) = self.buckets.get(bucket) {
            raw::prefetch(line);
        }
        bucket
    }

    /// The entry of a key.
    ///
    /// The first way of a bucket is for a pretoken that was met again, the second for the newest: so what occurs once
    /// never drives out what occurs often.
    #[inline]
    pub(crate) fn get(&mut self, bucket: usize, key: u128) -> Option<Entry> {
        let Bucket(entries) = self.buckets.get_mut(bucket)?;
        if entries[0].key != key {
            if entries[1].key != key {
                return None;
            }
            entries.swap(0, 1);
        }
        Some(entries[0])
    }

    /// The ids of an entry.
    pub(crate) fn ids<'a>(&'a self, entry: &'a Entry) -> &'a [u32] {
        if entry.len() <= INLINE {
            &entry.ids[..entry.len()]
        } else {
            &self.overflow[entry.ids[0] as usize..][..entry.len()]
        }
    }

    /// Remembers the ids of a pretoken that is not in the cache.
    pub(crate) fn insert(&mut self, bucket: usize, key: u128, ids: &[u32]) {
        let mut entry = Entry { key, ids: [0; INLINE], length: ids.len() as u32 };
        if ids.len() <= INLINE {
            entry.ids[..ids.len()].copy_from_slice(ids);
        } else {
            if self.overflow.len() + ids.len() > MAX_OVERFLOW {
                self.overflow.clear();
                self.buckets.fill(Bucket::default());
            }
            if self.overflow.try_reserve(ids.len()).is_err() {
                return;
            }
            entry.ids[0] = self.overflow.len() as u32;
            self.overflow.extend_from_slice(ids);
        }
        if let Some(Bucket(entries)) = self.buckets.get_mut(bucket) {
            let way = usize::from(entries[0].key != 0);
            entries[way] = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids_of(number: u32) -> Vec<u32> {
        (0..=number % 15).map(|index| number ^ index).collect()
    }

    fn found(cache: &mut Cache, key: u128) -> Option<Vec<u32>> {
        let entry = cache.get(cache.bucket_of(key), key)?;
        Some(cache.ids(&entry).to_vec())
    }

    #[test]
    fn what_is_found_is_what_was_put_in_whatever_was_forgotten() {
        let mut cache = Cache::new();
        let key = |number: u32| word_key::pack(&number.to_le_bytes(), &(0..4)).unwrap();
        let mut num_found = 0;
        for number in 0..400_000 {
            cache.insert(cache.bucket_of(key(number)), key(number), &ids_of(number));
            assert_eq!(found(&mut cache, key(number)), Some(ids_of(number)));
            let earlier = number / 2;
            if let Some(ids) = found(&mut cache, key(earlier)) {
                assert_eq!(ids, ids_of(earlier));
                num_found += 1;
            }
        }
        assert!(num_found > 20_000);
        assert!(cache.overflow.capacity() <= 2 * MAX_OVERFLOW);
    }
}
