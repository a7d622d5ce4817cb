//! A long pretoken in pieces that are encoded each by itself.
//!
//! Two facts allow it, both of merges in any order:
//!
//! - *Where no token of the vocabulary lies, no merge ever joins.* If none that a merge makes has two characters side
//!   by side, these never get into one token, and what stands before them has nothing to do with what stands after.
//!   Chinese, Japanese and Thai have no spaces, so that a pretoken is half a sentence and hardly one is met again; but
//!   most of their characters are found in no token beside most others. What lies between is short and comes from the
//!   cache.
//! - *If every token fits its neighbour, all are right.* Let `t1 ... tn` be tokens such that the ids of `ti` and
//!   `ti+1` together are just these two, for each `i`. Then they are the ids of the whole. For the first merge to
//!   cross from one `ti` into the next would be the lowest in the text of the two alone, too, as all that came before
//!   it happened within tokens; so it would cross there. For the same reason, some successive ids of a text are the ids
//!   of what they stand for.

use std::ops::Range;

use super::merge::MergeTable;
use crate::control::Control;
use crate::error::Result;
use crate::memory::reserve;

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
                let left = start.map_or(0, |start| if start + length_at(token, start) == at { at - start } else { 0 });
                if left > 0 && at + length_at(token, at) <= token.len() {
                    pairs.push(hash(character_at(token, at - left), character_at(token, at)));
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
        let text = &text[..range.end];
        let mut left = character_at(text, range.start);
        let mut at = range.start + length_at(text, range.start);
        while at < text.len() {
            let right = character_at(text, at);
            if !self.may_join(left, right, text[at - 1], text[at]) {
                visit(at)?;
            }
            left = right;
            at += length_at(text, at);
        }
        visit(text.len())
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

/// The number of bytes that the character has that begins at `at`.
#[inline]
fn length_at(text: &[u8], at: usize) -> usize {
    match text[at] {
        0..0xC0 => 1,
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0.. => 4,
    }
}

/// The bytes of the character at `at` as an integer.
#[inline]
fn character_at(text: &[u8], at: usize) -> u32 {
    let bytes = &text[at..text.len().min(at + length_at(text, at))];
    bytes.iter().fold(0, |character, &byte| character << 8 | u32::from(byte))
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// The bytes of a window at first.
const FIRST_WINDOW: usize = 31;
/// When that many bytes are one token, or have to be encoded again because of what follows them, it takes too long.
const LAST_WINDOW: usize = 1 << 10;

/// Appends the ids of a long pretoken, in time that grows with its length for all but contrived merges.
///
/// The pretoken is read through a window: its ids are taken over but for the last ones, which might change with what
/// follows; the window moves to where these begin, and the first id there must fit the last one taken over.
///
/// # Errors
/// As [`MergeTable::encode`].
pub(super) fn encode_through_window(
    table: &MergeTable,
    length_of: impl Fn(u32) -> usize,
    pretoken: &[u8],
    out: &mut Vec<u32>,
    control: &Control,
) -> Result<()> {
    let first = out.len();
    let mut at = 0;
    let (mut size, mut more) = (FIRST_WINDOW, 0);
    // What the window showed, and what it came to. A run of one character shows the same again and again.
    let (mut shown, mut ids): (&[u8], Vec<u32>) = (&[], Vec::new());
    let mut fitting = None;
    while at < pretoken.len() {
        if size + more > LAST_WINDOW {
            out.truncate(first);
            return table.encode(pretoken, out, control);
        }
        let window = &pretoken[at..pretoken.len().min(at + size + more)];
        if window != shown {
            ids.clear();
            table.encode(window, &mut ids, control)?;
            shown = window;
        }
        if let Some(&left) = out[first..].last()
            && fitting != Some((left, ids[0]))
        {
            if !fits(table, &length_of, (left, ids[0]), pretoken, at, control)? {
                // It did depend on what comes after it.
                out.pop();
                at -= length_of(left);
                more += length_of(left);
                continue;
            }
            fitting = Some((left, ids[0]));
        }
        more = 0;
        let is_last = at + window.len() == pretoken.len();
        let mut taken = 0;
        let mut num_taken = 0;
        for &id in &ids {
            let end = taken + length_of(id);
            if !is_last && end > window.len() - window.len() / 3 {
                break;
            }
            taken = end;
            num_taken += 1;
        }
        if num_taken == 0 {
            size *= 2;
        }
        reserve(out, num_taken)?;
        out.extend_from_slice(&ids[..num_taken]);
        at += taken;
    }
    Ok(())
}

/// Whether the ids of the text of two tokens, which meet at `at`, are just these.
fn fits(
    table: &MergeTable,
    length_of: &impl Fn(u32) -> usize,
    (left, right): (u32, u32),
    pretoken: &[u8],
    at: usize,
    control: &Control,
) -> Result<bool> {
    let mut ids = Vec::new();
    table.encode(&pretoken[at - length_of(left)..at + length_of(right)], &mut ids, control)?;
    Ok(ids == [left, right])
}
