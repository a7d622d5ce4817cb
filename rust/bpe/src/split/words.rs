//! Where words, numbers, punctuation and white space start in a block, by what all patterns after GPT-2's share:
//!
//! ```text
//! [^\r\n\p{L}\p{N}]?WORD|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
//! ```

#![allow(clippy::inline_always, reason = "see `scan`")]

use super::blocks::Block;
use crate::raw::simd::BLOCK;

/// The characters of a block by what they may be part of; each is in one of these.
pub(super) struct Kinds {
    pub(super) words: u64,
    pub(super) numbers: u64,
    pub(super) spaces: u64,
    /// Punctuation and whatever else.
    pub(super) others: u64,
}

/// What these rules ask about the end of the block before, as 0 or 1 but for numbers.
#[derive(Default)]
pub(super) struct Before {
    pub(super) word: u64,
    pub(super) other: u64,
    /// It is the first of some punctuation that no space leads: if a word follows, it leads that.
    lone: u64,
    blank: u64,
    /// White space but for line breaks.
    white: u64,
    /// White space but for the line breaks that punctuation has taken along.
    rest: u64,
    own_line: u64,
    pub(super) taken: u64,
    numbers: NumbersBefore,
}

#[derive(Default)]
struct NumbersBefore {
    /// Whether the last three bytes are numbers, the last one in bit 2.
    are_numbers: u64,
    /// Whether a pretoken of numbers starts there.
    are_starts: u64,
    is_beyond_ascii: u64,
}

pub(super) struct Found {
    pub(super) certain: u64,
    pub(super) doubtful: u64,
    /// The line breaks that punctuation takes along.
    pub(super) taken: u64,
}

impl Before {
    #[inline(always)]
    pub(super) fn starts<const N: usize>(
        &mut self,
        block: &Block<N>,
        kinds: &Kinds,
        after: &Block<N>,
        spaces_after: u64,
        max_digits: usize,
    ) -> Found {
        let &Kinds { words, numbers, spaces, others } = kinds;
        let first_bytes = !block.continuations;
        let white = spaces & !block.lines;

        // A sum carries over a run from where it is led to where it ends.
        let led = block.lines & (others << 1 | self.other | self.taken);
        let taken = block.lines & !block.lines.wrapping_add(led);
        let (own_lines, rest) = (block.lines & !taken, spaces & !taken);

        let mut certain = others & !(others << 1 | self.other) & !(block.blanks << 1 | self.blank) & first_bytes;
        let (behind_lone, is_last_lone) = block.behind(certain);
        certain |= words & !(words << 1 | self.word | white << 1 | self.white | behind_lone | self.lone) & first_bytes;
        certain |= rest & !(rest << 1 | self.rest);
        certain |= block.first_bytes(white & !block.followed(spaces, spaces_after));

        // Behind a line break white space starts anew if no other line break follows: who knows, if it is long?
        let tails = white & (own_lines << 1 | self.own_line);
        certain |= tails;
        let (sum, is_beyond) = white.overflowing_add(tails);
        let behind_tails = sum & !white;
        let mut is_doubtful = behind_tails & block.lines != 0;
        if is_beyond || behind_tails & !block.whole != 0 {
            let length = (spaces_after & !after.lines).trailing_ones();
            is_doubtful |= length >= after.length || after.lines >> length & 1 == 1;
        }
        let mut doubtful = if is_doubtful { tails & tails.wrapping_neg() } else { 0 };

        if max_digits == 1 {
            certain |= numbers & first_bytes;
        } else {
            let (starts, mixed) = self.numbers.starts_of_three(block, numbers);
            certain |= starts;
            doubtful |= mixed;
        }

        *self = Self {
            word: block.last(words),
            other: block.last(others),
            lone: is_last_lone,
            blank: block.last(block.blanks),
            white: block.last(white),
            rest: block.last(rest),
            own_line: block.last(own_lines),
            taken: block.last(taken),
            numbers: std::mem::take(&mut self.numbers),
        };
        Found { certain, doubtful, taken }
    }
}

impl NumbersBefore {
    /// Where `\p{N}{1,3}` starts, and where that is in doubt because a run has numbers of more than one byte in it.
    #[inline(always)]
    fn starts_of_three<const N: usize>(&mut self, block: &Block<N>, numbers: u64) -> (u64, u64) {
        let behind_one = numbers << 1 | self.are_numbers >> 2;
        let behind_three = behind_one & (numbers << 2 | self.are_numbers >> 1) & (numbers << 3 | self.are_numbers);
        let fourths = numbers & behind_three;
        let mut starts = numbers & !behind_one;
        if fourths != 0 {
            let mut next = (starts << 3 | self.are_starts) & fourths;
            while next != 0 {
                starts |= next;
                next = next << 3 & fourths;
            }
        }
        let beyond = numbers & block.beyond;
        let mixed = if beyond | self.is_beyond_ascii == 0 {
            0
        } else {
            (beyond & behind_one | numbers & (beyond << 1 | self.is_beyond_ascii)) & !block.continuations
        };
        let last_three = |mask: u64| mask.wrapping_shl(BLOCK as u32 - block.length) >> (BLOCK - 3);
        *self = Self {
            are_numbers: last_three(numbers),
            are_starts: last_three(starts),
            is_beyond_ascii: block.last(beyond),
        };
        (starts & !block.continuations, mixed)
    }
}
