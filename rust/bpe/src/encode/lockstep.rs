//! Short words, merged several at once.
//!
//! To find the next merge of one word takes few instructions that each wait for the one before, and which of them come
//! next is anyone's guess. Here several words take their first merge, then their second, and so on, by instructions that
//! are the same whatever the words are: the processor works on all of them at once and hardly ever guesses wrong, and
//! what one waits for from memory is on its way while the others are seen to.

#![allow(clippy::inline_always)] // to be compiled for the kind of processor that the caller is compiled for

use super::merge::{MergeTable, NONE};
use super::pairs::Query;
use crate::raw::simd::Simd;

/// The words that go side by side.
pub(super) const WORDS_AT_A_TIME: usize = 32;

/// No merge: greater than every other.
const NO_MERGE: u32 = u32::MAX;

/// A word of up to `W` bytes while it is merged, `W` being a power of two up to 32.
///
/// A symbol stands where its first byte stood; `alive` has the bits of these places. Each place holds the rank of the
/// merge with the symbol to its right and, below it, its own number, so that the least of a word's numbers says which
/// merge is next and where. These numbers are only ever written all at once: a load of what has just been written in
/// part waits until it has come to the cache.
#[derive(Clone, Copy)]
struct Word<const W: usize> {
    symbols: [u32; W],
    merges: [u32; W],
    alive: u32,
}

/// What a merge has changed in a word.
#[derive(Clone, Copy, Default)]
struct Changed {
    place: u8,
    right: u8,
    before: u8,
    has_before: bool,
    has_after: bool,
    with_after: Query,
    with_before: Query,
}

impl<const W: usize> Word<W> {
    const PLACE_BITS: u32 = W.trailing_zeros();

    #[inline(always)]
    fn merge_at(rank: u32, place: usize) -> u32 {
        if rank == NONE { NO_MERGE } else { rank << Self::PLACE_BITS | place as u32 }
    }

    /// The first `length` of the bytes, at least one; all of them are looked at, as no guess is needed then.
    #[inline(always)]
    fn begin(&mut self, table: &MergeTable, bytes: [u8; W], length: usize) {
        self.symbols = bytes.map(u32::from);
        let ranks: [u32; W] = std::array::from_fn(|place| table.rank_of_bytes(bytes[place], bytes[(place + 1) % W]));
        self.merges =
            std::array::from_fn(
                |place| {
                    if place + 1 < length { Self::merge_at(ranks[place], place) } else { NO_MERGE }
                },
            );
        self.alive = u32::MAX >> (32 - length);
    }

    /// The next merge.
    #[inline(always)]
    fn next(&self) -> u32 {
        self.merges.iter().copied().fold(NO_MERGE, u32::min)
    }

    /// Applies a merge, and begins to look for those that the product may take part in.
    #[inline(always)]
    fn apply(&mut self, merge: u32, table: &MergeTable) -> Changed {
        let place = merge as usize % W;
        let product = table.product_or_any(merge >> Self::PLACE_BITS);
        let behind = self.alive & u32::MAX.wrapping_shl(place as u32).wrapping_shl(1);
        let right = behind.trailing_zeros() as usize % W;
        let behind = behind & behind.wrapping_sub(1);
        let below = self.alive & !u32::MAX.wrapping_shl(place as u32);
        self.alive &= !(1 << right);
        self.symbols[place] = product;
        let after = behind.trailing_zeros() as usize % W;
        let before = below.checked_ilog2().unwrap_or(0) as usize % W;
        Changed {
            place: place as u8,
            right: right as u8,
            before: before as u8,
            has_before: below != 0,
            has_after: behind != 0,
            with_after: table.ranks().query_ahead(product, self.symbols[after]),
            with_before: table.ranks().query_ahead(self.symbols[before], product),
        }
    }

    /// Takes note of what the product of a merge may take part in; returns the next merge.
    #[inline(always)]
    fn look_up<S: Simd>(&mut self, simd: S, changed: &Changed, table: &MergeTable) -> u32 {
        let &Changed { place, right, before, has_before, has_after, with_after, with_before } = changed;
        let [at_place, at_before] = [usize::from(place) % W, usize::from(before) % W];
        let with_after = Self::merge_at(table.ranks().answer(&with_after), at_place);
        let with_after = if has_after { with_after } else { NO_MERGE };
        let with_before = Self::merge_at(table.ranks().answer(&with_before), at_before);
        let (before, with_before) = if has_before { (before, with_before) } else { (place, with_after) };
        let changes = [(right, NO_MERGE), (place, with_after), (before, with_before)];
        simd.set_and_find_least(&mut self.merges, changes.map(|(place, merge)| (u32::from(place), merge)))
    }

    /// What has not been merged, in order: the ids and their number.
    #[inline(always)]
    fn ids(&self, table: &MergeTable) -> ([u32; W], usize) {
        let mut ids = [0; W];
        let mut alive = self.alive;
        let mut length = 0;
        while alive != 0 {
            ids[length % W] = table.id(self.symbols[alive.trailing_zeros() as usize % W]);
            alive &= alive - 1;
            length += 1;
        }
        (ids, length)
    }
}

/// Merges numbered words, each of which is the first bytes of an array and their number, from 1 on; `visit` is called
/// with the number of each and its ids.
#[inline(always)]
pub(super) fn merge_words<S: Simd, const W: usize>(
    simd: S,
    table: &MergeTable,
    numbered: impl Iterator<Item = (u16, ([u8; W], usize))>,
    mut visit: impl FnMut(u16, &[u32]),
) {
    merge_words_in_place(simd, table, numbered, |number, _, ids| visit(number, ids));
}

/// As [`merge_words`]; `visit` is told, too, where the tokens begin: the bits of these places.
#[inline(always)]
pub(super) fn merge_words_in_place<S: Simd, const W: usize>(
    simd: S,
    table: &MergeTable,
    mut numbered: impl Iterator<Item = (u16, ([u8; W], usize))>,
    mut visit: impl FnMut(u16, u32, &[u32]),
) {
    let mut words = [Word::<W> { symbols: [0; W], merges: [NO_MERGE; W], alive: 1 }; WORDS_AT_A_TIME];
    let mut numbers = [0; WORDS_AT_A_TIME];
    let mut next = [NO_MERGE; WORDS_AT_A_TIME];
    let mut changed = [Changed::default(); WORDS_AT_A_TIME];
    let mut busy = [0_u8; WORDS_AT_A_TIME];
    loop {
        let (mut num_words, mut num_busy) = (0, 0);
        for ((number, (bytes, length)), index) in numbered.by_ref().take(WORDS_AT_A_TIME).zip(0..) {
            numbers[index] = number;
            words[index].begin(table, bytes, length);
            next[index] = words[index].next();
            busy[num_busy % WORDS_AT_A_TIME] = index as u8;
            num_busy += usize::from(next[index] != NO_MERGE);
            num_words += 1;
        }
        while num_busy > 0 {
            for (&index, changed) in busy[..num_busy].iter().zip(&mut changed) {
                let index = usize::from(index) % WORDS_AT_A_TIME;
                *changed = words[index].apply(next[index], table);
            }
            let mut num_left = 0;
            for place in 0..num_busy {
                let index = usize::from(busy[place]) % WORDS_AT_A_TIME;
                next[index] = words[index].look_up(simd, &changed[place], table);
                busy[num_left] = index as u8;
                num_left += usize::from(next[index] != NO_MERGE);
            }
            num_busy = num_left;
        }
        for (word, &number) in words.iter().zip(&numbers[..num_words]) {
            let (ids, length) = word.ids(table);
            visit(number, word.alive, &ids[..length]);
        }
        if num_words < WORDS_AT_A_TIME {
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
            let Self(table, words) = self;
            let mut found = vec![Vec::new(); words.len()];
            let padded = words.iter().map(|word| {
                let mut bytes = [b'a'; W]; // what stands behind a word does not matter
                bytes[..word.len()].copy_from_slice(word);
                (bytes, word.len())
            });
            merge_words(simd, table, (0..).zip(padded), |number, ids| found[usize::from(number)] = ids.to_vec());
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
