//! Short words, merged several at once.
//!
//! To find the next merge of one word takes few instructions that each wait for the one before, and which of them come
//! next is anyone's guess. Here several words take their first merge, then their second, and so on, by instructions that
//! are the same whatever the words are: the processor works on all of them at once and hardly ever guesses wrong, and
//! what one waits for from memory is on its way while the others are seen to.

#![allow(clippy::inline_always)] // to be compiled for the kind of processor that the caller is compiled for

use super::merge::{MergeTable, NONE};
use super::pairs::Query;
use crate::raw::simd::{Row, Simd};

/// The words that go side by side, and one more place for what is of no use.
const NUM_LANES: usize = size_of::<Row>() / size_of::<u32>();
/// The last place: words that are done go on there, which takes less time than to leave them out.
const SPARE: usize = NUM_LANES - 1;

/// No merge: greater than every other.
const NO_MERGE: u32 = u32::MAX;

/// Words of up to `W` symbols while they are merged, `W` being a power of two up to 32.
///
/// A symbol stands where its first byte stood; `alive` has the bits of these places. Each place holds the rank of the
/// merge with the symbol to its right and, below it, its own number, so that the least of a word's numbers says which
/// merge is next and where.
struct Words<const W: usize> {
    symbols: [Row; W],
    merges: [Row; W],
    alive: Row,
}

/// What a merge has changed in a word.
#[derive(Clone, Copy, Default)]
struct Changed {
    lane: u8,
    place: u8,
    before: u8,
    has_before: bool,
    has_after: bool,
    with_after: Query,
    with_before: Query,
}

impl<const W: usize> Words<W> {
    const PLACE_BITS: u32 = W.trailing_zeros();

    #[inline(always)]
    fn merge_at(rank: u32, place: usize) -> u32 {
        if rank == NONE { NO_MERGE } else { rank << Self::PLACE_BITS | place as u32 }
    }

    /// 1 to `W` bytes.
    #[inline(always)]
    fn put(&mut self, lane: usize, table: &MergeTable, word: &[u8]) {
        for (row, &byte) in self.symbols.iter_mut().zip(word) {
            row[lane] = u32::from(byte);
        }
        for (place, (row, pair)) in self.merges.iter_mut().zip(word.windows(2)).enumerate() {
            row[lane] = Self::merge_at(table.rank_of_bytes(pair[0], pair[1]), place);
        }
        self.alive[lane] = u32::MAX >> (32 - word.len());
    }

    /// Applies a merge to a word, and begins to look for those that the product may take part in.
    #[inline(always)]
    fn apply(&mut self, lane: usize, merge: u32, table: &MergeTable) -> Changed {
        let place = merge as usize % W;
        let product = table.product_or_any(merge >> Self::PLACE_BITS);
        let behind = self.alive[lane] & u32::MAX.wrapping_shl(place as u32).wrapping_shl(1);
        let right = behind.trailing_zeros() as usize % W;
        let behind = behind & behind.wrapping_sub(1);
        let below = self.alive[lane] & !u32::MAX.wrapping_shl(place as u32);
        self.alive[lane] &= !(1 << right);
        self.symbols[place][lane] = product;
        self.merges[right][lane] = NO_MERGE;
        let after = behind.trailing_zeros() as usize % W;
        let before = below.checked_ilog2().unwrap_or(0) as usize % W;
        Changed {
            lane: lane as u8,
            place: place as u8,
            // Where nothing stands before it, that is said of the one that is gone once more.
            before: if below == 0 { right } else { before } as u8,
            has_before: below != 0,
            has_after: behind != 0,
            with_after: table.ranks().query_ahead(product, self.symbols[after][lane]),
            with_before: table.ranks().query_ahead(self.symbols[before][lane], product),
        }
    }

    /// Takes note of what the product of a merge may take part in.
    #[inline(always)]
    fn look_up(&mut self, changed: &Changed, table: &MergeTable) {
        let &Changed { lane, place, before, has_before, has_after, with_after, with_before } = changed;
        let [lane, place, before] = [usize::from(lane) % NUM_LANES, usize::from(place) % W, usize::from(before) % W];
        let rank_after = table.ranks().answer(&with_after);
        let rank_before = table.ranks().answer(&with_before);
        self.merges[place][lane] = if has_after { Self::merge_at(rank_after, place) } else { NO_MERGE };
        self.merges[before][lane] = if has_before { Self::merge_at(rank_before, before) } else { NO_MERGE };
    }

    /// What has not been merged, in order: the ids and their number.
    #[inline(always)]
    fn ids(&self, lane: usize, table: &MergeTable) -> ([u32; W], usize) {
        let mut ids = [0; W];
        let mut alive = self.alive[lane];
        let mut length = 0;
        while alive != 0 {
            ids[length % W] = table.id(self.symbols[alive.trailing_zeros() as usize % W][lane]);
            alive &= alive - 1;
            length += 1;
        }
        (ids, length)
    }
}

/// Merges numbered words of 1 to `W` bytes; `visit` is called with the number of each and its ids.
#[inline(always)]
pub(super) fn merge_words<'w, S: Simd, const W: usize>(
    simd: S,
    table: &MergeTable,
    mut numbered: impl Iterator<Item = (usize, &'w [u8])>,
    mut visit: impl FnMut(usize, &[u32]),
) {
    let mut words =
        Words::<W> { symbols: [[0; NUM_LANES]; W], merges: [[NO_MERGE; NUM_LANES]; W], alive: [0; NUM_LANES] };
    let mut numbers = [0; NUM_LANES];
    loop {
        let mut num_words = 0;
        for ((number, word), lane) in numbered.by_ref().take(SPARE).zip(0..) {
            numbers[lane] = number;
            words.put(lane, table, word);
            num_words += 1;
        }
        if num_words == 0 {
            return;
        }
        let mut busy: [u8; NUM_LANES] = std::array::from_fn(|lane| lane as u8);
        let mut num_busy = num_words;
        while num_busy > 0 {
            let merges = simd.least(&words.merges);
            let mut changed = [Changed::default(); NUM_LANES];
            let mut num_left = 0;
            for place in 0..num_busy {
                let lane = busy[place];
                let merge = merges[usize::from(lane) % NUM_LANES];
                busy[num_left] = lane;
                num_left += usize::from(merge != NO_MERGE);
                let lane = if merge == NO_MERGE { SPARE } else { usize::from(lane) };
                changed[place] = words.apply(lane % NUM_LANES, merge, table);
            }
            for changed in &changed[..num_busy] {
                words.look_up(changed, table);
            }
            num_busy = num_left;
        }
        for (lane, &number) in numbers[..num_words].iter().enumerate() {
            let (ids, length) = words.ids(lane, table);
            visit(number, &ids[..length]);
        }
        if num_words < SPARE {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Control;
    use crate::encode::merge::testing::{MERGES, table};
    use crate::raw::simd::{Instructions, Job};

    struct MergeWords<'w, const W: usize>(&'w MergeTable, &'w [Vec<u8>]);

    impl<const W: usize> Job for MergeWords<'_, W> {
        type Output = Vec<Vec<u32>>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Self::Output {
            let mut found = vec![Vec::new(); self.1.len()];
            let words = self.1.iter().map(Vec::as_slice).enumerate();
            merge_words::<S, W>(simd, self.0, words, |number, ids| found[number] = ids.to_vec());
            found
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn words_side_by_side_come_to_what_each_comes_to(
            order in Just([MERGES, &[("b", "b"), ("c", "a")]].concat()).prop_shuffle(),
            words in prop::collection::vec(prop::collection::vec(97_u8..100, 1..=32), 0..40),
        ) {
            let table = table(&order).unwrap();
            let short: Vec<Vec<u8>> = words.iter().map(|word| word[..word.len().min(16)].to_vec()).collect();
            let alone = |words: &[Vec<u8>]| -> Vec<Vec<u32>> {
                words.iter().map(|word| {
                    let mut ids = Vec::new();
                    table.encode(word, &mut ids, &Control::new()).unwrap();
                    ids
                }).collect()
            };
            for instructions in Instructions::all() {
                prop_assert_eq!(instructions.run(MergeWords::<16>(&table, &short)), alone(&short));
                prop_assert_eq!(instructions.run(MergeWords::<32>(&table, &words)), alone(&words));
            }
        }
    }
}
