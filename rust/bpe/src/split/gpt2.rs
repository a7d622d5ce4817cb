//! GPT-2's pattern by hand:
//!
//! ```text
//! '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//! ```
//!
//! Every character matches one of the alternatives, so the pretokens tile the text: it is enough to know where one
//! starts. That is where the class of characters changes, with three exceptions. A space belongs to what follows it. A
//! run of white space that something follows gives its last character up: to what follows if that is a plain space,
//! or else as a pretoken of its own. And an apostrophe at the start of a pretoken may begin a contraction.

#![allow(clippy::inline_always, reason = "see `scan`")]

use super::blocks::{Block, Coarse};
use super::runs::{WhiteSpace, run_end};
use super::scan::{Rules, Starts};
use super::unicode::{Class, class_at};
use crate::raw::simd::Simd;

/// The pattern that this module stands for, as the course prints it.
pub(crate) const REGEX: &str = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The same language as GPT-2's authors wrote it.
pub(crate) const ORIGINAL_REGEX: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The same as tiktoken writes it, sparing its engine to backtrack.
pub(crate) const POSSESSIVE_REGEX: &str =
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s";

/// The scanner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gpt2;

/// Of the last character of the block before, as 0 or 1: whether it is a letter, a number, ...
#[derive(Default)]
pub(crate) struct Before {
    letter: u64,
    number: u64,
    other: u64,
    space: u64,
    blank: u64,
}

impl Rules for Gpt2 {
    type Block = Block<3>;
    type Before = Before;

    const NOTHING: Block<3> = Block::EMPTY;

    #[inline(always)]
    fn load<S: Simd>(self, simd: S, text: &[u8], at: usize) -> Block<3> {
        Block::load::<S, Coarse>(simd, text, at, b' ')
    }

    #[inline(always)]
    fn length(block: &Block<3>) -> u32 {
        block.length
    }

    #[inline(always)]
    fn starts(self, text: &[u8], at: usize, block: &Block<3>, after: &Block<3>, before: &mut Before) -> Starts {
        let ([letters, numbers, spaces], others) = (block.classes, block.others());
        // Each in its place: what differs from the character before.
        let changes = letters & !(letters << 1 | before.letter)
            | numbers & !(numbers << 1 | before.number)
            | others & !(others << 1 | before.other);
        let last_spaces = block.first_bytes(spaces & !block.followed(spaces, after.classes[2]));
        let mut certain = (changes & !(block.blanks << 1 | before.blank)
            | spaces & (last_spaces | !(spaces << 1 | before.space)))
            & !block.continuations;
        let mut doubtful = 0;
        let mut contractions = block.apostrophes & certain & (letters >> 1 | 1 << 63);
        while contractions != 0 {
            let place = contractions.trailing_zeros();
            contractions &= contractions - 1;
            match contraction_end(text, at + place as usize) {
                Some(end) if end - at < block.length as usize => {
                    let end = 1 << (end - at);
                    certain = certain & !(end - (2 << place)) | end;
                }
                Some(_) => doubtful |= 1 << place, // the next block would have to know of it
                None => {}
            }
        }
        *before = Before {
            letter: block.last(letters),
            number: block.last(numbers),
            other: block.last(others),
            space: block.last(spaces),
            blank: block.last(block.blanks),
        };
        Starts { certain, doubtful }
    }

    fn pretoken_end(self, text: &[u8], start: usize) -> usize {
        if text[start] == b'\''
            && let Some(end) = contraction_end(text, start)
        {
            return end;
        }
        let (class, length) = class_at(text, start);
        let next = start + length;
        match class {
            Class::Space if text[start] == b' ' && next < text.len() => match class_at(text, next) {
                (Class::Space, _) => WhiteSpace::at(text, start).end_before_last(text),
                (class, length) => run_end(text, next + length, class),
            },
            Class::Space => WhiteSpace::at(text, start).end_before_last(text),
            class => run_end(text, next, class),
        }
    }
}

/// The end of `'s`, `'d`, `'m`, `'t`, `'ll`, `'ve` or `'re` at `start`, where an apostrophe stands.
fn contraction_end(text: &[u8], start: usize) -> Option<usize> {
    match text[start + 1..] {
        [b's' | b'd' | b'm' | b't', ..] => Some(start + 2),
        [b'l', b'l', ..] | [b'v' | b'r', b'e', ..] => Some(start + 3),
        _ => None,
    }
}

/// Whether the pattern, on any text in which `before` and then `after` stand side by side, always ends a pretoken
/// between them and comes to the same pretokens when the text is cut there.
///
/// A change of class is such a place, with two exceptions. After white space it is not: the run may give its last
/// character to what follows, and at the end of a text it would not. After an apostrophe it is not: a letter may make
/// it a contraction.
pub(crate) fn always_splits(before: Class, before_byte: u8, after: Class) -> bool {
    before != Class::Space && before != after && !(before_byte == b'\'' && after == Class::Letter)
}
