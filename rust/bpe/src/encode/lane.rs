//! One short word. Several at once, as encoding has them mostly, are seen to in [`lockstep`](super::lockstep).

use super::merge::{MergeTable, NONE};

/// The longest word, in symbols.
pub(super) const MAX_SYMBOLS: usize = 64;

/// No merge: greater than every other.
const NO_MERGE: i32 = i32::MAX;
const PLACE_BITS: u32 = MAX_SYMBOLS.trailing_zeros();

/// A word of up to `W` symbols while it is merged: quadratic in its length, but without any allocation and with
/// everything in registers or the first-level cache.
///
/// A symbol stands where its first byte stood; `alive` has the bits of these places. Each place holds the rank of the
/// merge with the symbol to its right and, below it, its own number, so that the least of these numbers says which
/// merge is next and where. Closing the gaps instead of marking them took a tenth of all encoding time.
pub(super) struct Lane<const W: usize> {
    symbols: [u32; W],
    merges: [i32; W],
    alive: u64,
    /// The places whose merges are still to be looked up.
    changed: u64,
}

impl<const W: usize> Lane<W> {
    const IDLE: Self = Self { symbols: [0; W], merges: [NO_MERGE; W], alive: 0, changed: 0 };

    /// 1 to `W` symbols.
    pub(super) fn of_symbols(table: &MergeTable, symbols: impl ExactSizeIterator<Item = u32>) -> Self {
        let mut lane = Self::IDLE;
        let length = symbols.len();
        for (place, symbol) in symbols.enumerate() {
            lane.symbols[place] = symbol;
        }
        for place in 1..length {
            lane.merges[place - 1] = merge_at(table.rank(lane.symbols[place - 1], lane.symbols[place]), place - 1);
        }
        lane.alive = u64::MAX >> (MAX_SYMBOLS - length);
        lane
    }

    /// Applies the next merge; returns whether there was one.
    #[inline]
    pub(super) fn step(&mut self, table: &MergeTable) -> bool {
        let mut changed = std::mem::take(&mut self.changed);
        while changed != 0 {
            let place = changed.trailing_zeros() as usize;
            changed &= changed - 1;
            let right = self.next_after(place);
            self.merges[place % W] = merge_at(table.rank(self.symbols[place % W], self.symbols[right % W]), place);
        }
        let next = self.merges.iter().copied().fold(NO_MERGE, i32::min);
        if next == NO_MERGE {
            return false;
        }
        let next = next.cast_unsigned();
        let place = next as usize % W;
        let product = table.product(next >> PLACE_BITS);
        self.symbols[place] = product;
        self.merges[place] = NO_MERGE;
        let right = self.next_after(place);
        self.alive &= !(1 << right);
        self.merges[right % W] = NO_MERGE;
        let after = self.next_after(place);
        if after < MAX_SYMBOLS {
            self.changed |= 1 << place;
        }
        let below = self.alive & ((1 << place) - 1);
        if below != 0 {
            let before = below.ilog2() as usize % W;
            self.merges[before] = NO_MERGE;
            self.changed |= 1 << before;
        }
        true
    }

    /// The next place with a symbol; [`MAX_SYMBOLS`] if there is none.
    #[inline]
    fn next_after(&self, place: usize) -> usize {
        (self.alive & (u64::MAX << place << 1)).trailing_zeros() as usize
    }

    /// What has not been merged, in order.
    #[inline]
    pub(super) fn symbols(&self) -> impl Iterator<Item = u32> {
        let mut alive = self.alive;
        std::iter::from_fn(move || {
            let place = alive.trailing_zeros() as usize;
            alive &= alive.wrapping_sub(1);
            self.symbols.get(place).copied()
        })
    }
}

#[inline]
fn merge_at(rank: u32, place: usize) -> i32 {
    if rank == NONE { NO_MERGE } else { (rank << PLACE_BITS | place as u32).cast_signed() }
}
