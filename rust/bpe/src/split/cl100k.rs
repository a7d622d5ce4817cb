//! GPT-4's pattern by hand, with the variations that others have made of it:
//!
//! ```text
//! '(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s
//! ```
//!
//! Beside GPT-2's: contractions in capitals too; any character but a line break may lead a word; numbers in threes;
//! punctuation takes the line breaks behind it along; white space ends with its last line break.

use super::unicode::{Class, class_at};

/// What the members of the family differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    /// How many digits go into a pretoken.
    pub(crate) max_digits: usize,
    /// Whether white space at the end of a text is one pretoken even if there are line breaks in it (`\s++$`).
    pub(crate) keeps_end_whole: bool,
}

/// Where the pretoken that starts at `start` ends. `text` is valid UTF-8 and `start < text.len()`.
#[inline]
pub(crate) fn pretoken_end(variant: Variant, text: &[u8], start: usize) -> usize {
    if text[start] == b'\''
        && let Some(end) = contraction_end(text, start)
    {
        return end;
    }
    let (class, length) = class_at(text, start);
    let next = start + length;
    match class {
        Class::Letter => return run_end(text, next, Class::Letter),
        Class::Number => return digits_end(text, start, variant.max_digits),
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
    white_space_end(text, start, variant.keeps_end_whole)
}

/// The end of the run of `class` that goes on at `at`.
#[inline]
pub(super) fn run_end(text: &[u8], mut at: usize, class: Class) -> usize {
    while at < text.len() {
        let (next, length) = class_at(text, at);
        if next != class {
            break;
        }
        at += length;
    }
    at
}

/// The end of at most `max_digits` numbers from `at` on.
pub(super) fn digits_end(text: &[u8], mut at: usize, max_digits: usize) -> usize {
    for _ in 0..max_digits {
        match text.get(at).map(|_| class_at(text, at)) {
            Some((Class::Number, length)) => at += length,
            _ => break,
        }
    }
    at
}

/// The end of the punctuation that goes on at `at`, with the bytes behind it that are `taken_along`.
pub(super) fn punctuation_end(text: &[u8], at: usize, taken_along: impl Fn(u8) -> bool) -> usize {
    let end = run_end(text, at, Class::Other);
    end + text[end..].iter().take_while(|&&byte| taken_along(byte)).count()
}

/// The end of the pretoken of white space at `start`: behind its last line break if it has one, or else before its
/// last character if something follows and it is not the only one.
pub(super) fn white_space_end(text: &[u8], start: usize, keeps_end_whole: bool) -> usize {
    let (mut at, mut last, mut behind_break) = (start, start, None);
    while at < text.len() {
        let (class, length) = class_at(text, at);
        if class != Class::Space {
            break;
        }
        if is_line_break(text[at]) {
            behind_break = Some(at + 1);
        }
        (last, at) = (at, at + length);
    }
    match behind_break {
        _ if at == text.len() && keeps_end_whole => at,
        Some(end) => end,
        None if at == text.len() || last == start => at,
        None => last,
    }
}

/// `\r` or `\n`.
#[inline]
pub(super) fn is_line_break(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
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
