//! Where runs of characters of a class end, one character at a time.

use super::unicode::{Class, class_at};

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

/// White space from `start` on.
pub(super) struct WhiteSpace {
    start: usize,
    /// Where its last character begins.
    last: usize,
    pub(super) end: usize,
    /// Behind its last line break.
    pub(super) behind_break: Option<usize>,
}

impl WhiteSpace {
    pub(super) fn at(text: &[u8], start: usize) -> Self {
        let mut found = Self { start, last: start, end: start, behind_break: None };
        while found.end < text.len() {
            let (class, length) = class_at(text, found.end);
            if class != Class::Space {
                break;
            }
            if is_line_break(text[found.end]) {
                found.behind_break = Some(found.end + 1);
            }
            (found.last, found.end) = (found.end, found.end + length);
        }
        found
    }

    /// The end of `\s+(?!\S)|\s+`: before its last character if something follows and it is not the only one.
    pub(super) fn end_before_last(&self, text: &[u8]) -> usize {
        if self.end == text.len() || self.last == self.start { self.end } else { self.last }
    }
}

/// `\r` or `\n`.
#[inline]
pub(super) fn is_line_break(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}
