//! NEON, which is part of aarch64.
//!
//! Compiled by rustc 1.96 and run under emulation (QEMU 7.2, November 2026): the tests of the operations, of the classes of
//! every code point, and of the scanners against the regular expressions passed. It has not been timed on a processor.

use std::arch::aarch64::{
    uint8x16_t, vandq_u8, vceqq_u8, vcltq_u8, vcombine_u8, vcreate_u8, vdupq_n_u8, vgetq_lane_u64, vld1q_u8, vorrq_u8,
    vpaddq_u8, vqtbl1q_u8, vreinterpretq_u64_u8, vshrq_n_u8, vsubq_u8, vtstq_u8,
};

use super::{BLOCK, Simd};

/// Every processor of the architecture has it.
#[derive(Clone, Copy)]
pub(super) struct Neon;

/// The powers of two, twice.
#[inline(always)]
fn powers() -> uint8x16_t {
    // SAFETY: NEON is part of the architecture.
    unsafe {
        let eight = vcreate_u8(0x8040_2010_0804_0201);
        vcombine_u8(eight, eight)
    }
}

/// The mask of the bytes that a comparison has set: each keeps the bit of its place among eight, and neighbours are added
/// up until there is one byte for eight.
#[inline(always)]
fn mask_of(flags: [uint8x16_t; 4]) -> u64 {
    // SAFETY: NEON is part of the architecture.
    unsafe {
        let [a, b, c, d] = flags.map(|flags| vandq_u8(flags, powers()));
        let sums = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
        vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)))
    }
}

// SAFETY of all calls below: NEON is part of the architecture.
impl Simd for Neon {
    type Bytes = [uint8x16_t; 4];

    #[inline(always)]
    fn load(self, block: &[u8; BLOCK]) -> Self::Bytes {
        // SAFETY: as above; four times 16 bytes are read, the length of the block.
        [0, 16, 32, 48].map(|start| unsafe { vld1q_u8(block.as_ptr().add(start)) })
    }

    #[inline(always)]
    fn set_case_bit(self, bytes: Self::Bytes) -> Self::Bytes {
        // SAFETY: as above.
        bytes.map(|quarter| unsafe { vorrq_u8(quarter, vdupq_n_u8(0x20)) })
    }

    #[inline(always)]
    fn equal(self, bytes: Self::Bytes, byte: u8) -> u64 {
        // SAFETY: as above.
        mask_of(bytes.map(|quarter| unsafe { vceqq_u8(quarter, vdupq_n_u8(byte)) }))
    }

    #[inline(always)]
    fn in_range(self, bytes: Self::Bytes, first: u8, length: u8) -> u64 {
        // SAFETY: as above.
        mask_of(bytes.map(|quarter| unsafe { vcltq_u8(vsubq_u8(quarter, vdupq_n_u8(first)), vdupq_n_u8(length)) }))
    }

    #[inline(always)]
    fn beyond_ascii(self, bytes: Self::Bytes) -> u64 {
        // SAFETY: as above.
        mask_of(bytes.map(|quarter| unsafe { vtstq_u8(quarter, vdupq_n_u8(0x80)) }))
    }

    #[inline(always)]
    fn members(self, bytes: Self::Bytes, set: u64) -> u64 {
        // Of the low six bits of a byte the upper three choose a byte of the set, the lower three its bit.
        // SAFETY: as above.
        mask_of(bytes.map(|quarter| unsafe {
            let set = vcombine_u8(vcreate_u8(set), vcreate_u8(set));
            let eight = vqtbl1q_u8(set, vandq_u8(vshrq_n_u8::<3>(quarter), vdupq_n_u8(7)));
            let bit = vqtbl1q_u8(powers(), vandq_u8(quarter, vdupq_n_u8(7)));
            vtstq_u8(eight, bit)
        }))
    }
}
