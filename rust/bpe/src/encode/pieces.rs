//! A pretoken in pieces that are encoded each by itself.
//!
//! A fact about merges in any order allows it: *where no token of the vocabulary lies, no merge ever joins.* If none
//! that a merge makes has two characters side by side, these never get into one token, and what stands before them has
//! nothing to do with what stands after. Chinese, Japanese and Thai have no spaces, so that a pretoken is half a sentence
//! and hardly one is met again; but most of their characters are found in no token beside most others. What lies between
//! is short and comes from the cache.

use std::ops::Range;

use crate::error::Result;

/// The characters that may be joined: a superset, for which a bit may stand for several pairs of characters.
#[derive(Clone, Debug)]
pub(super) struct Joints {
    /// A bit for each hash of two characters that some token has side by side.
    characters: Vec<u64>,
    shift: u32,
    /// A bit for each pair of bytes at which a part of a character is joined to another one in some token.
    fragments: Vec<u64>,
}

impl Joints {
    /// `products` are the tokens that merges make.
    pub(super) fn new<'a>(products: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut pairs = Vec::new();
        let mut fragments = vec![0; (1 << 16) / 64];
        for token in products.filter(|token| !token.is_ascii()) {
            for at in (1..token.len()).filter(|&at| !is_continuation(token[at])) {
                let start = (0..at).rev().take(4).find(|&start| !is_continuation(token[start]));
                let left = start.map_or(0, |start| if start + length_of(token[start]) == at { at - start } else { 0 });
                if left > 0 && at + length_of(token[at]) <= token.len() {
                    pairs.push(hash(character_at(token, at - left).0, character_at(token, at).0));
                } else {
                    set(&mut fragments, fragment(token[at - 1], token[at]));
                }
            }
        }
        let num_bits = (pairs.len() * 16).next_power_of_two().max(64);
        let mut joints = Self { characters: vec![0; num_bits / 64], shift: 64 - num_bits.trailing_zeros(), fragments };
        for pair in pairs {
            set(&mut joints.characters, pair >> joints.shift);
        }
        joints
    }

    /// Calls `visit` with the ends of pieces of `range` that have nothing to do with one another.
    ///
    /// Where two ASCII characters meet is no cut, whether they may be joined or not.
    pub(super) fn for_each_piece(
        &self,
        text: &[u8],
        range: Range<usize>,
        mut visit: impl FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let (mut left, length) = character_at(text, range.start);
        let mut at = range.start + length;
        while at < range.end {
            let (right, length) = character_at(text, at);
            if !self.may_join(left, right, text[at - 1], text[at]) {
                visit(at)?;
            }
            left = right;
            at += length;
        }
        visit(range.end)
    }

    #[inline]
    fn may_join(&self, left: u32, right: u32, last: u8, first: u8) -> bool {
        (left | right) < 0x80
            || is_set(&self.characters, hash(left, right) >> self.shift)
            || is_set(&self.fragments, fragment(last, first))
    }
}

fn set(bits: &mut [u64], bit: u64) {
    bits[bit as usize / 64] |= 1 << (bit % 64);
}

#[inline]
fn is_set(bits: &[u64], bit: u64) -> bool {
    bits[bit as usize / 64] >> (bit % 64) & 1 != 0
}

fn fragment(last: u8, first: u8) -> u64 {
    u64::from(last) << 8 | u64::from(first)
}

#[inline]
fn hash(left: u32, right: u32) -> u64 {
    (u64::from(left) << 32 | u64::from(right)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The number of bytes of the character that begins with this one.
#[inline]
fn length_of(first: u8) -> usize {
    first.leading_ones().clamp(1, 4) as usize
}

/// The bytes of the character at `at` as an integer, and their number; fewer than it has where the text ends.
#[inline]
fn character_at(text: &[u8], at: usize) -> (u32, usize) {
    if let Some((bytes, _)) = text.get(at..).and_then(<[u8]>::split_first_chunk) {
        let length = length_of(bytes[0]);
        return (u32::from_be_bytes(*bytes) >> (32 - 8 * length), length);
    }
    let rest = &text[at..];
    let rest = &rest[..rest.len().min(length_of(rest[0]))];
    (rest.iter().fold(0, |character, &byte| character << 8 | u32::from(byte)), rest.len())
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}
