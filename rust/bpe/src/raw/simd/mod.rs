//! Sixty-four bytes at a time, by the vector instructions that the processor has.
//!
//! What is done with a block is written once, over the few operations of [`Simd`]; a [`Job`] is compiled for each set of
//! instructions, and the processor decides which one runs. Each is tested against the definition of its operations, and
//! the scanners with it against the regular expressions: every set that the processor has, wherever the tests run.

#![allow(clippy::inline_always, reason = "what is not inlined into `run_*` is compiled without its instructions")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use portable::Portable;

/// The number of bytes of a block.
pub(crate) const BLOCK: usize = 64;

/// Operations on a block. A mask has one bit for each byte, the first byte in the lowest bit.
pub(crate) trait Simd: Copy {
    /// A block in registers.
    type Bytes: Copy;

    fn load(self, block: &[u8; BLOCK]) -> Self::Bytes;

    /// Each byte with bit 5 set: capital letters of ASCII become small.
    fn set_case_bit(self, bytes: Self::Bytes) -> Self::Bytes;

    /// Which bytes are equal to `byte`.
    fn equal(self, bytes: Self::Bytes, byte: u8) -> u64;

    /// Which bytes are one of the `length` from `first` on; at least one, none beyond 255.
    fn in_range(self, bytes: Self::Bytes, first: u8, length: u8) -> u64;

    /// Which bytes are not ASCII: 0x80 and above.
    fn beyond_ascii(self, bytes: Self::Bytes) -> u64;

    /// For which bytes the bit of `set` is set that their low six bits name.
    fn members(self, bytes: Self::Bytes, set: u64) -> u64;

    /// Sets three places of a row, whose length is a multiple of sixteen up to 32, the last one last; returns the least
    /// number of the row.
    #[inline(always)]
    fn set_and_find_least<const N: usize>(self, row: &mut [u32; N], changes: [(u32, u32); 3]) -> u32 {
        for (place, number) in changes {
            row[place as usize % N] = number;
        }
        row.iter().copied().fold(u32::MAX, u32::min)
    }

    /// Writes `base` plus the place of each bit of `mask`, in order. What stands behind them in `out` is undefined.
    #[inline(always)]
    fn write_places(self, mut mask: u64, base: usize, out: &mut [usize; BLOCK]) {
        // Eight at a time whether there are as many or not: that there are eight more is guessed right more often.
        for eight in out.chunks_exact_mut(8) {
            for place in eight {
                *place = base.wrapping_add(mask.trailing_zeros() as usize);
                mask &= mask.wrapping_sub(1);
            }
            if mask == 0 {
                return;
            }
        }
    }
}

/// What can be done with any set of instructions. `run` and all that it calls on blocks must be `#[inline(always)]`.
pub(crate) trait Job {
    type Output;

    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// A set of instructions that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instructions(Set);

/// Kept private: each but the portable set is made where the processor is known to have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg_attr(target_arch = "aarch64", allow(dead_code, reason = "NEON is part of the architecture"))]
    Portable,
}

impl Instructions {
    /// The fastest that this processor has.
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if avx512::is_available() {
                return Self(Set::Avx512);
            }
            if avx2::is_available() {
                return Self(Set::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        return Self(Set::Neon);
        #[cfg(not(target_arch = "aarch64"))]
        Self(Set::Portable)
    }

    /// All that this processor has, for tests.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self(Set::Portable)];
        #[cfg(target_arch = "x86_64")]
        if avx2::is_available() {
            all.push(Self(Set::Avx2));
        }
        if !all.contains(&Self::best()) {
            all.push(Self::best());
        }
        all
    }

    /// Does the job with these instructions.
    #[inline]
    pub(crate) fn run<J: Job>(self, job: J) -> J::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has the features that the function is compiled for, or there were no such set.
            Set::Avx512 => unsafe { avx512::run(job) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Set::Avx2 => unsafe { avx2::run(job) },
            #[cfg(target_arch = "aarch64")]
            Set::Neon => job.run(neon::Neon),
            Set::Portable => job.run(Portable),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The result of every operation.
    struct Everything<'b>(&'b [u8; BLOCK], u8, u8, u64);

    impl Job for Everything<'_> {
        type Output = (Vec<u64>, Vec<usize>);

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Self::Output {
            let Self(block, byte, length, mask) = self;
            let bytes = simd.load(block);
            let masks = vec![
                simd.equal(bytes, byte),
                simd.in_range(bytes, byte, length),
                simd.equal(simd.set_case_bit(bytes), byte),
                simd.beyond_ascii(bytes),
                simd.members(bytes, mask),
            ];
            let mut places = [0; BLOCK];
            simd.write_places(mask, usize::from(byte), &mut places);
            (masks, places[..mask.count_ones() as usize].to_vec())
        }
    }

    fn by_definition(Everything(block, byte, length, mask): &Everything<'_>) -> (Vec<u64>, Vec<usize>) {
        let mask_of = |holds: &dyn Fn(u8) -> bool| {
            block.iter().enumerate().map(|(place, &byte)| u64::from(holds(byte)) << place).sum::<u64>()
        };
        let masks = vec![
            mask_of(&|other| other == *byte),
            mask_of(&|other| (*byte..=byte + (length - 1)).contains(&other)),
            mask_of(&|other| other | 0x20 == *byte),
            mask_of(&|other| !other.is_ascii()),
            mask_of(&|other| mask >> (other & 63) & 1 == 1),
        ];
        (masks, (0..64).filter(|place| mask >> place & 1 == 1).map(|place| usize::from(*byte) + place).collect())
    }

    fn assert_all_agree(block: &[u8; BLOCK], byte: u8, length: u8, mask: u64) {
        let expected = by_definition(&Everything(block, byte, length, mask));
        for instructions in Instructions::all() {
            assert_eq!(instructions.run(Everything(block, byte, length, mask)), expected, "{instructions:?}");
        }
    }

    #[test]
    fn every_byte_in_every_place_is_seen() {
        for byte in 0..=255_u8 {
            for place in 0..BLOCK {
                let mut block = [byte.wrapping_add(1); BLOCK];
                block[place] = byte;
                assert_all_agree(&block, byte, 1, 1 << place);
            }
        }
    }

    /// A row after some changes, and its least number.
    struct Changed<const N: usize>([u32; N], [(u32, u32); 3]);

    impl<const N: usize> Job for Changed<N> {
        type Output = ([u32; N], u32);

        #[inline(always)]
        fn run<S: Simd>(mut self, simd: S) -> ([u32; N], u32) {
            let least = simd.set_and_find_least(&mut self.0, self.1);
            (self.0, least)
        }
    }

    fn assert_all_agree_on_row<const N: usize>(row: [u32; N], changes: [(u32, u32); 3]) {
        let mut expected = row;
        for (place, number) in changes {
            expected[place as usize] = number;
        }
        let least = expected.iter().copied().min().unwrap();
        for instructions in Instructions::all() {
            assert_eq!(instructions.run(Changed(row, changes)), (expected, least), "{instructions:?}");
        }
    }

    proptest! {
        #[test]
        fn a_row_is_changed_in_three_places(row: [u32; 32], changes: [(u32, u32); 3]) {
            assert_all_agree_on_row(row, changes.map(|(place, number)| (place % 32, number)));
            let short = *row.first_chunk::<16>().unwrap();
            assert_all_agree_on_row(short, changes.map(|(place, number)| (place % 16, number)));
        }

        #[test]
        fn all_sets_agree_with_the_definition(
            block in prop::collection::vec(any::<u8>(), BLOCK), byte: u8, length in 1_u8..=255, mask: u64, thin: u64,
        ) {
            let length = length.min(255 - byte).max(1);
            for mask in [mask, mask & thin & thin >> 7, 0, u64::MAX] {
                assert_all_agree(block.first_chunk().unwrap(), byte, length, mask);
            }
        }
    }
}
