//! AVX2, with the bit instructions of the same processors.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_blendv_epi8, _mm256_cmpeq_epi8, _mm256_cmpeq_epi32,
    _mm256_loadu_si256, _mm256_min_epu8, _mm256_min_epu32, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
    _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_setr_epi32, _mm256_shuffle_epi8, _mm256_srli_epi16,
    _mm256_storeu_si256, _mm256_sub_epi8,
};

use super::{BLOCK, Job, Simd};

/// The processor has what [`run`] is compiled for: only [`run`] makes one.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("lzcnt")
}

#[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
pub(super) fn run<J: Job>(job: J) -> J::Output {
    job.run(Avx2(()))
}

#[inline(always)]
fn splat(byte: u8) -> __m256i {
    // SAFETY: see `Avx2`: called by its methods alone.
    unsafe { _mm256_set1_epi8(byte.cast_signed()) }
}

/// The mask of the bytes that a comparison has set.
#[inline(always)]
fn mask_of(flags: [__m256i; 2]) -> u64 {
    // SAFETY: see `Avx2`: called by its methods alone.
    let [low, high] = flags.map(|flags| unsafe { _mm256_movemask_epi8(flags) }.cast_unsigned());
    u64::from(low) | u64::from(high) << 32
}

// SAFETY of all calls below: whoever has an `Avx2` runs on a processor with these instructions.
impl Simd for Avx2 {
    type Bytes = [__m256i; 2];

    #[inline(always)]
    fn load(self, block: &[u8; BLOCK]) -> Self::Bytes {
        // SAFETY: as above; twice 32 bytes are read, the length of the block, and the load needs no alignment.
        [0, 32].map(|start| unsafe { _mm256_loadu_si256(block.as_ptr().add(start).cast()) })
    }

    #[inline(always)]
    fn set_case_bit(self, bytes: Self::Bytes) -> Self::Bytes {
        // SAFETY: as above.
        bytes.map(|half| unsafe { _mm256_or_si256(half, splat(0x20)) })
    }

    #[inline(always)]
    fn equal(self, bytes: Self::Bytes, byte: u8) -> u64 {
        // SAFETY: as above.
        mask_of(bytes.map(|half| unsafe { _mm256_cmpeq_epi8(half, splat(byte)) }))
    }

    #[inline(always)]
    fn in_range(self, bytes: Self::Bytes, first: u8, length: u8) -> u64 {
        // There is no unsigned `x <= last`, but `min(x, last) == x` says the same.
        // SAFETY: as above.
        mask_of(bytes.map(|half| unsafe {
            let offset = _mm256_sub_epi8(half, splat(first));
            _mm256_cmpeq_epi8(_mm256_min_epu8(offset, splat(length - 1)), offset)
        }))
    }

    #[inline(always)]
    fn beyond_ascii(self, bytes: Self::Bytes) -> u64 {
        mask_of(bytes)
    }

    #[inline(always)]
    fn members(self, bytes: Self::Bytes, set: u64) -> u64 {
        // Of the low six bits of a byte the upper three choose a byte of the set, the lower three its bit.
        // SAFETY: as above.
        mask_of(bytes.map(|half| unsafe {
            let which = _mm256_and_si256(_mm256_srli_epi16::<3>(half), splat(7));
            let eight = _mm256_shuffle_epi8(_mm256_set1_epi64x(set.cast_signed()), which);
            let powers = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
            let bit = _mm256_shuffle_epi8(powers, _mm256_and_si256(half, splat(7)));
            _mm256_cmpeq_epi8(_mm256_and_si256(eight, bit), bit)
        }))
    }

    #[inline(always)]
    fn set_and_find_least<const N: usize>(self, row: &mut [u32; N], changes: [(u32, u32); 3]) -> u32 {
        let mut least = [0; 8];
        // SAFETY: as above; each time eight numbers, 32 bytes, are read and written.
        unsafe {
            let mut all = _mm256_set1_epi32(-1);
            let mut places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            for eight in row.as_chunks_mut::<8>().0 {
                let mut numbers = _mm256_loadu_si256(eight.as_ptr().cast());
                for (place, number) in changes {
                    let is_here = _mm256_cmpeq_epi32(places, _mm256_set1_epi32(place.cast_signed()));
                    numbers = _mm256_blendv_epi8(numbers, _mm256_set1_epi32(number.cast_signed()), is_here);
                }
                _mm256_storeu_si256(eight.as_mut_ptr().cast(), numbers);
                all = _mm256_min_epu32(all, numbers);
                places = _mm256_add_epi32(places, _mm256_set1_epi32(8));
            }
            _mm256_storeu_si256(least.as_mut_ptr().cast(), all);
        }
        least.into_iter().fold(u32::MAX, u32::min)
    }
}
