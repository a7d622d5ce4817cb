//! The operations without any instruction of their own.

use super::{BLOCK, Simd};

/// Comparisons that the compiler turns into vector instructions of whatever processor it builds for, and a
/// multiplication that gathers eight bytes of 0 or 1 into eight bits.
#[derive(Clone, Copy)]
pub(super) struct Portable;

#[inline(always)]
fn mask_of(bytes: &[u8; BLOCK], is_member: impl Fn(u8) -> bool) -> u64 {
    let flags: [u8; BLOCK] = std::array::from_fn(|place| u8::from(is_member(bytes[place])));
    flags.chunks_exact(8).rev().fold(0, |mask, eight| {
        let eight = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
        mask << 8 | eight.wrapping_mul(0x0102_0408_1020_4080) >> 56
    })
}

impl Simd for Portable {
    type Bytes = [u8; BLOCK];

    #[inline(always)]
    fn load(self, block: &[u8; BLOCK]) -> [u8; BLOCK] {
        *block
    }

    #[inline(always)]
    fn set_case_bit(self, bytes: [u8; BLOCK]) -> [u8; BLOCK] {
        bytes.map(|byte| byte | 0x20)
    }

    #[inline(always)]
    fn equal(self, bytes: [u8; BLOCK], byte: u8) -> u64 {
        mask_of(&bytes, |other| other == byte)
    }

    #[inline(always)]
    fn in_range(self, bytes: [u8; BLOCK], first: u8, length: u8) -> u64 {
        mask_of(&bytes, |byte| byte.wrapping_sub(first) < length)
    }

    #[inline(always)]
    fn beyond_ascii(self, bytes: [u8; BLOCK]) -> u64 {
        mask_of(&bytes, |byte| byte >= 0x80)
    }

    #[inline(always)]
    fn members(self, bytes: [u8; BLOCK], set: u64) -> u64 {
        mask_of(&bytes, |byte| set >> (byte & 63) & 1 == 1)
    }
}
