//! The order of a shuffle: that of keys, which every document has by its number.

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Spreads numbers over 64 bits, one-to-one for each seed, so that no two documents have the same key: splitmix64
/// (Steele, Lea and Flood 2014), once with the seed and once more.
pub(super) fn key(number: u64, seed: u64) -> u64 {
    [seed, GOLDEN].iter().fold(number.wrapping_add(1), |x, part| {
        let x = x.wrapping_mul(GOLDEN).wrapping_add(*part);
        let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    })
}

/// Which of `num_buckets` ranges of keys, of equal size and in order, a key lies in.
pub(super) fn bucket_of(key: u64, num_buckets: usize) -> usize {
    ((u128::from(key) * num_buckets as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spread_and_buckets_are_in_their_order() {
        let mut keys: Vec<u64> = (0..100_000).map(|number| key(number, 7)).collect();
        assert_ne!(keys[0], key(0, 8));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 100_000);
        for num_buckets in [1, 3, 64] {
            let buckets: Vec<usize> = keys.iter().map(|key| bucket_of(*key, num_buckets)).collect();
            assert!(buckets.is_sorted() && buckets[0] == 0);
            let sizes = (0..num_buckets).map(|bucket| buckets.iter().filter(|other| **other == bucket).count());
            assert!(
                sizes.clone().all(|size| size.abs_diff(100_000 / num_buckets) < 400),
                "{:?}",
                sizes.collect::<Vec<_>>()
            );
        }
    }
}
