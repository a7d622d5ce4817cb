//! The pattern of SuperBPE's second stage (Liu et al. 2025, arXiv 2503.13423) by hand:
//!
//! ```text
//! \p{N}{1,3}| ?[^\s\p{L}\p{N}]{2,}[\r\n/]*| +(?!\S)
//! ```
//!
//! Whole stretches of text lie between its matches, and each of them is a pretoken: words with their spaces, line
//! feeds and single punctuation marks. Only numbers, runs of punctuation and runs of spaces stand alone.

use super::runs::{digits_end, is_line_break};
use super::unicode::{Category, Class, category_at};

pub(crate) const REGEX: &str = r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]{2,}[\r\n/]*| +(?!\S)";

/// Where the pretoken that starts at `start` ends. `text` is valid UTF-8 and `start < text.len()`.
pub(crate) fn pretoken_end(text: &[u8], start: usize) -> usize {
    if let Some(end) = match_end(text, start) {
        return end;
    }
    let mut at = start;
    loop {
        at += category_at(text, at).1;
        // Letters, of which most of a text consists, begin no match.
        while at < text.len() && text[at].is_ascii_alphabetic() {
            at += 1;
        }
        if at == text.len() || match_end(text, at).is_some() {
            return at;
        }
    }
}

/// The end of the match at `start`, if there is one.
#[inline]
fn match_end(text: &[u8], start: usize) -> Option<usize> {
    let (category, length) = category_at(text, start);
    match category.class() {
        Class::Number => Some(digits_end(text, start, 3)),
        Class::Other => punctuation_end(text, start + length),
        Class::Space if text[start] == b' ' => {
            let end = start + text[start..].iter().take_while(|&&byte| byte == b' ').count();
            match text.get(end).map(|_| category_at(text, end)) {
                None | Some((Category::Space, _)) => Some(end),
                // The last space belongs to what follows.
                Some(_) if end > start + 1 => Some(end - 1),
                Some((category, length)) if category.class() == Class::Other => punctuation_end(text, end + length),
                Some(_) => None,
            }
        }
        Class::Letter | Class::Space => None,
    }
}

/// The end of a run of punctuation of which one character stands before `at`, if there are more.
fn punctuation_end(text: &[u8], mut at: usize) -> Option<usize> {
    let second = at;
    while at < text.len() {
        match category_at(text, at) {
            (category, length) if category.class() == Class::Other => at += length,
            _ => break,
        }
    }
    let taken_along = |&&byte: &&u8| is_line_break(byte) || byte == b'/';
    (at > second).then(|| at + text[at..].iter().take_while(taken_along).count())
}

/// Whether the pattern, on any text in which `before` and then `after` stand side by side, always ends a pretoken
/// between them and comes to the same pretokens when the text is cut there.
///
/// Numbers are nothing but numbers, so that either end of them is such a place, unless white space stands before it: of
/// several spaces the last would not stay behind.
pub(crate) fn always_splits(before: Class, after: Class) -> bool {
    match (before, after) {
        (Class::Number | Class::Space, Class::Number) => false,
        (before, after) => before == Class::Number || after == Class::Number,
    }
}
