//! AVX-512 as of Ice Lake and Zen 4: with bit algorithms (BITALG) and the second set of byte permutations (VBMI2).

use std::arch::x86_64::{
    __m512i, _mm_srli_si128, _mm512_add_epi64, _mm512_alignr_epi32, _mm512_bitshuffle_epi64_mask,
    _mm512_castsi512_si128, _mm512_cmpeq_epi8_mask, _mm512_cmplt_epu8_mask, _mm512_cvtepu8_epi64, _mm512_loadu_si512,
    _mm512_mask_set1_epi32, _mm512_maskz_compress_epi8, _mm512_min_epu32, _mm512_movepi8_mask, _mm512_or_si512,
    _mm512_reduce_min_epu32, _mm512_set1_epi8, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_storeu_si512,
    _mm512_sub_epi8,
};

use super::{BLOCK, Job, Simd};

/// The processor has what [`run`] is compiled for: only [`run`] makes one.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("avx512bitalg")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("lzcnt")
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,avx512bitalg,bmi1,bmi2,popcnt,lzcnt")]
pub(super) fn run<J: Job>(job: J) -> J::Output {
    job.run(Avx512(()))
}

static PLACES: [u8; BLOCK] = {
    let mut places = [0; BLOCK];
    let mut place = 0;
    while place < BLOCK {
        places[place] = place as u8;
        place += 1;
    }
    places
};

#[inline(always)]
fn splat(byte: u8) -> __m512i {
    // SAFETY: see `Avx512`: called by its methods alone.
    unsafe { _mm512_set1_epi8(byte.cast_signed()) }
}

// SAFETY of all calls below: whoever has an `Avx512` runs on a processor with these instructions.
impl Simd for Avx512 {
    type Bytes = __m512i;

    #[inline(always)]
    fn load(self, block: &[u8; BLOCK]) -> __m512i {
        // SAFETY: as above; 64 bytes are read, the length of the block, and the load needs no alignment.
        unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
    }

    #[inline(always)]
    fn set_case_bit(self, bytes: __m512i) -> __m512i {
        // SAFETY: as above.
        unsafe { _mm512_or_si512(bytes, splat(0x20)) }
    }

    #[inline(always)]
    fn equal(self, bytes: __m512i, byte: u8) -> u64 {
        // SAFETY: as above.
        unsafe { _mm512_cmpeq_epi8_mask(bytes, splat(byte)) }
    }

    #[inline(always)]
    fn in_range(self, bytes: __m512i, first: u8, length: u8) -> u64 {
        // SAFETY: as above.
        unsafe { _mm512_cmplt_epu8_mask(_mm512_sub_epi8(bytes, splat(first)), splat(length)) }
    }

    #[inline(always)]
    fn beyond_ascii(self, bytes: __m512i) -> u64 {
        // SAFETY: as above.
        unsafe { _mm512_movepi8_mask(bytes) }
    }

    #[inline(always)]
    fn members(self, bytes: __m512i, set: u64) -> u64 {
        // SAFETY: as above.
        unsafe { _mm512_bitshuffle_epi64_mask(_mm512_set1_epi64(set.cast_signed()), bytes) }
    }

    #[inline(always)]
    fn set_and_find_least<const N: usize>(self, row: &mut [u32; N], changes: [(u32, u32); 3]) -> u32 {
        const { assert!(N == 16 || N == 32) };
        let changes = changes.map(|(place, number)| (1_u32 << (place as usize % N), number.cast_signed()));
        let mut half = |half: usize| {
            // SAFETY: as above; the sixteen numbers are read and written, of which a row has as many or twice as many.
            unsafe {
                let place = row.as_mut_ptr().add(16 * half).cast();
                let mut numbers = _mm512_loadu_si512(place);
                for (mask, number) in changes {
                    numbers = _mm512_mask_set1_epi32(numbers, (mask >> (16 * half)) as u16, number);
                }
                _mm512_storeu_si512(place, numbers);
                numbers
            }
        };
        let least = if N == 16 {
            half(0)
        } else {
            let (low, high) = (half(0), half(1));
            // SAFETY: as above.
            unsafe { _mm512_min_epu32(low, high) }
        };
        // SAFETY: as above.
        unsafe { _mm512_reduce_min_epu32(least) }
    }

    #[inline(always)]
    fn write_places(self, mask: u64, base: usize, out: &mut [usize; BLOCK]) {
        let mut left = mask.count_ones();
        // SAFETY: as above; the places of all 64 bytes are read.
        let mut places = unsafe { _mm512_maskz_compress_epi8(mask, _mm512_loadu_si512(PLACES.as_ptr().cast())) };
        for sixteen in out.chunks_exact_mut(16) {
            // SAFETY: as above; twice eight of the sixteen are written, and a `usize` has the 64 bits of a lane.
            unsafe {
                let base = _mm512_set1_epi64(base.cast_signed() as i64);
                let low = _mm512_castsi512_si128(places);
                let (first, second) = (_mm512_cvtepu8_epi64(low), _mm512_cvtepu8_epi64(_mm_srli_si128::<8>(low)));
                _mm512_storeu_si512(sixteen.as_mut_ptr().cast(), _mm512_add_epi64(first, base));
                _mm512_storeu_si512(sixteen.as_mut_ptr().add(8).cast(), _mm512_add_epi64(second, base));
                if left <= 16 {
                    return;
                }
                places = _mm512_alignr_epi32::<4>(_mm512_setzero_si512(), places);
            }
            left -= 16;
        }
    }
}
