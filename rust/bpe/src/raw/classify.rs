//! Sixty-four bytes at a time: which of them are letters, numbers, white space and so on, as bit masks.
//!
//! The processor decides which version runs; all give the same masks as the portable one, which they are tested
//! against.

/// The number of bytes of a block.
pub(crate) const BLOCK: usize = 64;

/// One bit for each byte of a block, the first byte in the lowest bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Masks {
    /// `A` to `Z` and `a` to `z`.
    pub(crate) letters: u64,
    /// `0` to `9`.
    pub(crate) numbers: u64,
    /// Tab, line feed, vertical tab, form feed, carriage return and space.
    pub(crate) spaces: u64,
    /// Space alone.
    pub(crate) blanks: u64,
    /// `'`.
    pub(crate) apostrophes: u64,
    /// Not ASCII: 0x80 and above.
    pub(crate) beyond: u64,
}

/// A way to compute the masks of a block.
pub(crate) type Classify = fn(&[u8; BLOCK]) -> Masks;

/// The fastest way that this processor knows.
pub(crate) fn classifier() -> Classify {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has the feature that the function is compiled for.
            return |block| unsafe { avx512(block) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return |block| unsafe { avx2(block) };
        }
    }
    portable
}

/// Comparisons that the compiler turns into vector instructions of whatever processor it builds for, and a
/// multiplication that gathers eight bytes of 0 or 1 into eight bits.
pub(crate) fn portable(block: &[u8; BLOCK]) -> Masks {
    let mask_of = |is_member: fn(u8) -> bool| {
        let flags: [u8; BLOCK] = std::array::from_fn(|index| u8::from(is_member(block[index])));
        flags.chunks_exact(8).rev().fold(0, |mask, eight| {
            let eight = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
            mask << 8 | eight.wrapping_mul(0x0102_0408_1020_4080) >> 56
        })
    };
    Masks {
        letters: mask_of(|byte| (byte | 0x20).wrapping_sub(b'a') < 26),
        numbers: mask_of(|byte| byte.wrapping_sub(b'0') < 10),
        spaces: mask_of(|byte| byte == b' ' || byte.wrapping_sub(b'\t') < 5),
        blanks: mask_of(|byte| byte == b' '),
        apostrophes: mask_of(|byte| byte == b'\''),
        beyond: mask_of(|byte| byte >= 0x80),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512bw")]
fn avx512(block: &[u8; BLOCK]) -> Masks {
    use std::arch::x86_64::{
        __m512i, _mm512_cmpeq_epi8_mask, _mm512_cmplt_epu8_mask, _mm512_loadu_si512, _mm512_movepi8_mask,
        _mm512_or_si512, _mm512_set1_epi8, _mm512_sub_epi8,
    };
    // SAFETY: 64 bytes are read, the length of the block; the load needs no alignment.
    let bytes: __m512i = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
    let splat = |byte: u8| _mm512_set1_epi8(byte.cast_signed());
    let in_range = |bytes, first, length| _mm512_cmplt_epu8_mask(_mm512_sub_epi8(bytes, splat(first)), splat(length));
    let blanks = _mm512_cmpeq_epi8_mask(bytes, splat(b' '));
    Masks {
        letters: in_range(_mm512_or_si512(bytes, splat(0x20)), b'a', 26),
        numbers: in_range(bytes, b'0', 10),
        spaces: blanks | in_range(bytes, b'\t', 5),
        blanks,
        apostrophes: _mm512_cmpeq_epi8_mask(bytes, splat(b'\'')),
        beyond: _mm512_movepi8_mask(bytes),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(block: &[u8; BLOCK]) -> Masks {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256,
        _mm256_set1_epi8, _mm256_sub_epi8,
    };
    let splat = |byte: u8| _mm256_set1_epi8(byte.cast_signed());
    let mask = |bytes| u64::from(_mm256_movemask_epi8(bytes).cast_unsigned());
    // `x <= last` unsigned: there is no such comparison, but `min(x, last) == x` says the same.
    let in_range = |bytes, first, length: u8| {
        let offset = _mm256_sub_epi8(bytes, splat(first));
        mask(_mm256_cmpeq_epi8(_mm256_min_epu8(offset, splat(length - 1)), offset))
    };
    let half = |start: usize| {
        // SAFETY: `start` is 0 or 32, and 32 bytes are read of the 64; the load needs no alignment.
        let bytes: __m256i = unsafe { _mm256_loadu_si256(block.as_ptr().add(start).cast()) };
        let blanks = mask(_mm256_cmpeq_epi8(bytes, splat(b' ')));
        Masks {
            letters: in_range(_mm256_or_si256(bytes, splat(0x20)), b'a', 26),
            numbers: in_range(bytes, b'0', 10),
            spaces: blanks | in_range(bytes, b'\t', 5),
            blanks,
            apostrophes: mask(_mm256_cmpeq_epi8(bytes, splat(b'\''))),
            beyond: mask(bytes),
        }
    };
    let (low, high) = (half(0), half(32));
    Masks {
        letters: low.letters | high.letters << 32,
        numbers: low.numbers | high.numbers << 32,
        spaces: low.spaces | high.spaces << 32,
        blanks: low.blanks | high.blanks << 32,
        apostrophes: low.apostrophes | high.apostrophes << 32,
        beyond: low.beyond | high.beyond << 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every version that this processor can run.
    fn versions() -> Vec<Classify> {
        let mut versions: Vec<Classify> = vec![portable, classifier()];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature that the function is compiled for.
            versions.push(|block| unsafe { avx2(block) });
        }
        versions
    }

    #[test]
    fn every_byte_in_every_place_is_classed_as_by_its_definition() {
        for byte in 0..=255_u8 {
            for place in 0..BLOCK {
                for filler in [0, b'a', b' ', 0xFF] {
                    let mut block = [filler; BLOCK];
                    block[place] = byte;
                    for classify in versions() {
                        let masks = classify(&block);
                        let bit = |mask: u64| mask >> place & 1 == 1;
                        assert_eq!(bit(masks.letters), byte.is_ascii_alphabetic());
                        assert_eq!(bit(masks.numbers), byte.is_ascii_digit());
                        assert_eq!(bit(masks.spaces), byte == b' ' || (9..=13).contains(&byte));
                        assert_eq!(bit(masks.blanks), byte == b' ');
                        assert_eq!(bit(masks.apostrophes), byte == b'\'');
                        assert_eq!(bit(masks.beyond), !byte.is_ascii());
                        assert_eq!(masks, portable(&block));
                    }
                }
            }
        }
    }
}
