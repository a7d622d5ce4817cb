//! The classes of 64 characters at a time: all that differ only in the low six bits, which are those of the last byte.

#![allow(clippy::inline_always, reason = "see `scan`")]

use super::classes::{BLOCK_OF, BLOCKS};

/// For each of `N` classes, which characters of a page are in it.
pub(super) type Page<const N: usize> = [u64; N];
/// The pages of each distinct block of 256 code points.
pub(super) type Pages<const N: usize> = [[Page<N>; 4]; BLOCKS.len()];

/// By the classes of most patterns: letters, numbers, white space.
pub(super) static COARSE: Pages<3> = pages([b"123", b"5", b"6"]);
/// By the classes of those that look at case: upper case letters, lower case letters, letters without case, marks,
/// numbers, white space.
pub(super) static FINE: Pages<6> = pages([b"1", b"2", b"3", b"4", b"5", b"6"]);

/// `digits` are those of each class in [`BLOCKS`].
const fn pages<const N: usize>(digits: [&[u8]; N]) -> Pages<N> {
    // The class of each digit; N is none.
    let mut class_of = [N; 256];
    let mut class = 0;
    while class < N {
        let mut index = 0;
        while index < digits[class].len() {
            class_of[digits[class][index] as usize] = class;
            index += 1;
        }
        class += 1;
    }
    let mut pages = [[[0; N]; 4]; BLOCKS.len()];
    let mut block = 0;
    while block < BLOCKS.len() {
        let mut index = 0;
        while index < BLOCKS[block].len() {
            let class = class_of[BLOCKS[block][index] as usize];
            if class < N {
                pages[block][index / 64][class] |= 1 << (index % 64);
            }
            index += 1;
        }
        block += 1;
    }
    pages
}

/// The page of a code point.
#[inline(always)]
pub(super) fn page_of<const N: usize>(pages: &'static Pages<N>, code_point: u32) -> &'static Page<N> {
    // What is no code point is like the last one: in no class.
    let block = BLOCK_OF.get(code_point as usize >> 8).copied().unwrap_or(BLOCK_OF[BLOCK_OF.len() - 1]);
    &pages[block as usize][code_point as usize >> 6 & 3]
}
