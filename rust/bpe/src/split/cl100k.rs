//! GPT-4's pattern by hand, with the variations that others have made of it:
//!
//! ```text
//! '(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s
//! ```
//!
//! Beside GPT-2's: contractions in capitals too; any character but a line break may lead a word; numbers in threes;
//! punctuation takes the line breaks behind it along; white space ends with its last line break.

#![allow(clippy::inline_always, reason = "see `scan`")]

use super::blocks::{Block, Coarse};
use super::runs::{WhiteSpace, digits_end, is_line_break, punctuation_end, run_end};
use super::scan::{Rules, Starts};
use super::unicode::{Class, class_at};
use super::words::{Before, Kinds};
use crate::raw::simd::Simd;

/// What the members of the family differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    /// How many digits go into a pretoken: 1 or 3.
    pub(crate) max_digits: usize,
    /// Whether white space at the end of a text is one pretoken even if there are line breaks in it (`\s++$`).
    pub(crate) keeps_end_whole: bool,
}

/// The scanner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cl100k(pub(crate) Variant);

impl Rules for Cl100k {
    type Block = Block<3>;
    type Before = Before;

    const NOTHING: Block<3> = Block::EMPTY;

    #[inline(always)]
    fn load<S: Simd>(self, simd: S, text: &[u8], at: usize) -> Block<3> {
        // White space that is followed by a line break is one pretoken, whatever it consists of.
        Block::load::<S, Coarse>(simd, text, at, if self.0.keeps_end_whole { b'\n' } else { b' ' })
    }

    #[inline(always)]
    fn length(block: &Block<3>) -> u32 {
        block.length
    }

    #[inline(always)]
    fn starts(self, text: &[u8], at: usize, block: &Block<3>, after: &Block<3>, before: &mut Before) -> Starts {
        let ([words, numbers, spaces], others) = (block.classes, block.others());
        let kinds = Kinds { words, numbers, spaces, others };
        let found = before.starts(block, &kinds, after, after.classes[2], self.0.max_digits);
        let (mut certain, mut doubtful) = (found.certain, found.doubtful);
        let mut contractions = block.apostrophes & certain & block.followed(words, after.classes[0]);
        while contractions != 0 {
            let place = contractions.trailing_zeros();
            contractions &= contractions - 1;
            match contraction_end(text, at + place as usize) {
                Some(end) if end - at < block.length as usize => certain |= 1 << (end - at),
                Some(_) => doubtful |= 1 << place, // the next block would have to know of it
                None => {}
            }
        }
        Starts { certain, doubtful }
    }

    #[inline]
    fn pretoken_end(self, text: &[u8], start: usize) -> usize {
        let Variant { max_digits, keeps_end_whole } = self.0;
        if text[start] == b'\''
            && let Some(end) = contraction_end(text, start)
        {
            return end;
        }
        let (class, length) = class_at(text, start);
        let next = start + length;
        match class {
            Class::Letter => return run_end(text, next, Class::Letter),
            Class::Number => return digits_end(text, start, max_digits),
            Class::Space | Class::Other => {}
        }
        if next < text.len() && !is_line_break(text[start]) {
            let (next_class, next_length) = class_at(text, next);
            if next_class == Class::Letter {
                return run_end(text, next + next_length, Class::Letter);
            }
            if class == Class::Space && text[start] == b' ' && next_class == Class::Other {
                return punctuation_end(text, next + next_length, is_line_break);
            }
        }
        if class == Class::Other {
            return punctuation_end(text, next, is_line_break);
        }
        match WhiteSpace::at(text, start) {
            white if white.end == text.len() && keeps_end_whole => white.end,
            white => white.behind_break.unwrap_or_else(|| white.end_before_last(text)),
        }
    }
}

/// The end of `'s`, `'d`, `'m`, `'t`, `'ll`, `'ve` or `'re`, in small or capital letters, at `start`, where an apostrophe
/// stands. The long s is a small form of S.
pub(super) fn contraction_end(text: &[u8], start: usize) -> Option<usize> {
    let lower = |at: usize| text.get(at).map(u8::to_ascii_lowercase);
    match (lower(start + 1)?, lower(start + 2)) {
        (b's' | b'd' | b'm' | b't', _) => Some(start + 2),
        (b'l', Some(b'l')) | (b'v' | b'r', Some(b'e')) | (0xC5, Some(0xBF)) => Some(start + 3),
        _ => None,
    }
}

/// As [`super::gpt2::always_splits`]: whether the pattern splits between two characters whatever stands around them.
///
/// Letters, numbers and line breaks keep to themselves what stands before them; what other white space and punctuation
/// do depends on what comes.
pub(crate) fn always_splits(before: Class, before_byte: u8, after: Class, after_byte: u8) -> bool {
    before != after
        && match before {
            Class::Letter | Class::Number => true,
            Class::Space => is_line_break(before_byte),
            Class::Other => after == Class::Number || (after == Class::Space && !is_line_break(after_byte)),
        }
}
