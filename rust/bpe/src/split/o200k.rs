//! GPT-4o's pattern by hand:
//!
//! ```text
//! [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//! |[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
//! |\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
//! ```
//!
//! A word is capitals and then small letters; letters without case and marks are both. Contractions belong to the
//! word before them.

use super::cl100k::{contraction_end, digits_end, is_line_break, punctuation_end, white_space_end};
use super::unicode::{Category, Class, category_at};

/// Where the pretoken that starts at `start` ends. `text` is valid UTF-8 and `start < text.len()`.
#[inline]
pub(crate) fn pretoken_end(text: &[u8], start: usize) -> usize {
    let (category, length) = category_at(text, start);
    if let Some(end) = word_end(text, start, category, length) {
        let is_contracted = text.get(end) == Some(&b'\'');
        return if is_contracted { contraction_end(text, end).unwrap_or(end) } else { end };
    }
    let next = start + length;
    match category.class() {
        Class::Number => digits_end(text, start, 3),
        Class::Other => punctuation_end(text, next, is_taken_along),
        Class::Space if text[start] == b' ' && next < text.len() => match category_at(text, next) {
            (category, length) if category.class() == Class::Other => {
                punctuation_end(text, next + length, is_taken_along)
            }
            _ => white_space_end(text, start, false),
        },
        Class::Space => white_space_end(text, start, false),
        Class::Letter => unreachable!("a letter begins a word"),
    }
}

fn is_taken_along(byte: u8) -> bool {
    is_line_break(byte) || byte == b'/'
}

/// The end of the word, without contraction, that begins at `start` or after one other character there.
fn word_end(text: &[u8], start: usize, category: Category, length: usize) -> Option<usize> {
    let may_lead = matches!(category.class(), Class::Space | Class::Other) && !is_line_break(text[start]);
    let behind_lead = may_lead.then_some(start + length);
    let is_part = !matches!(category, Category::Number | Category::Space | Category::Other);
    let starts = [behind_lead, is_part.then_some(start)].into_iter().flatten();
    // The first alternative with and without lead, then the second. A mark can be a lead and part of a word, too.
    let mut capitals = None;
    for from in starts {
        match letters_end(text, from) {
            Letters::WithSmall(end) => return Some(end),
            Letters::Capitals(end) => capitals = capitals.or(Some(end)),
            Letters::None => {}
        }
    }
    capitals
}

/// What stands at a place where a word might begin.
enum Letters {
    /// Ends with small letters, or with letters that may be either, here: `[U]*[l]+`.
    WithSmall(usize),
    /// Nothing but capitals, up to here: `[U]+`.
    Capitals(usize),
    None,
}

#[inline]
fn letters_end(text: &[u8], from: usize) -> Letters {
    let mut at = from;
    // The end of the last character of the first run that could be a small letter, too.
    let mut behind_either = None;
    while at < text.len() {
        let (category, length) = category_at(text, at);
        match category {
            Category::Upper => {}
            Category::Caseless | Category::Mark => behind_either = Some(at + length),
            Category::Lower => return Letters::WithSmall(small_end(text, at + length)),
            Category::Number | Category::Space | Category::Other => break,
        }
        at += length;
    }
    match behind_either {
        Some(end) => Letters::WithSmall(end),
        None if at > from => Letters::Capitals(at),
        None => Letters::None,
    }
}

fn small_end(text: &[u8], mut at: usize) -> usize {
    while at < text.len() {
        let (category, length) = category_at(text, at);
        if !matches!(category, Category::Lower | Category::Caseless | Category::Mark) {
            break;
        }
        at += length;
    }
    at
}

/// As [`super::cl100k::always_splits`]. Marks are parts of words here, an apostrophe may begin a contraction of the
/// word before it, and a slash behind line breaks may belong to the punctuation before them.
pub(crate) fn always_splits(before: Category, before_byte: u8, after: Category, after_byte: u8) -> bool {
    let (class_before, class_after) = (before.class(), after.class());
    class_before != class_after
        && match class_before {
            Class::Letter => class_after != Class::Other || (after != Category::Mark && after_byte != b'\''),
            Class::Number => true,
            Class::Space => is_line_break(before_byte) && after_byte != b'/',
            Class::Other => class_after == Class::Number || (class_after == Class::Space && !is_line_break(after_byte)),
        }
}
