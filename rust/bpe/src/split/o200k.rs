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

#![allow(clippy::inline_always, reason = "see `scan`")]

use super::blocks::{Block, Fine};
use super::cl100k::contraction_end;
use super::runs::{WhiteSpace, digits_end, is_line_break, punctuation_end};
use super::scan::{Rules, Starts};
use super::unicode::{Category, Class, category_at};
use super::words::{self, Kinds};
use crate::raw::simd::Simd;

/// The scanner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct O200k;

/// What is to be known of the block before.
#[derive(Default)]
pub(crate) struct Before {
    common: words::Before,
    /// The last character is a small letter, or one that may be either and stands behind one: 0 or 1.
    small: u64,
    /// It may be either, and no small letter stands before it in its word.
    either: u64,
}

/// The masks of the letters of a block and of what counts as such.
struct Parts {
    upper: u64,
    /// Letters without case, and marks.
    either: u64,
    words: u64,
}

impl Parts {
    #[inline(always)]
    fn of(block: &Block<6>) -> Self {
        let [upper, lower, caseless, marks, ..] = block.classes;
        Self { upper, either: caseless | marks, words: upper | lower | caseless | marks }
    }
}

impl Rules for O200k {
    type Block = Block<6>;
    type Before = Before;

    const NOTHING: Block<6> = Block::EMPTY;

    #[inline(always)]
    fn load<S: Simd>(self, simd: S, text: &[u8], at: usize) -> Block<6> {
        Block::load::<S, Fine>(simd, text, at, b' ')
    }

    #[inline(always)]
    fn length(block: &Block<6>) -> u32 {
        block.length
    }

    #[inline(always)]
    fn starts(self, text: &[u8], at: usize, block: &Block<6>, after: &Block<6>, before: &mut Before) -> Starts {
        let ([_, lower, _, marks, numbers, spaces], others) = (block.classes, block.others());
        let (letters, letters_after) = (Parts::of(block), Parts::of(after));
        let kinds = Kinds { words: letters.words, numbers, spaces, others };
        let (word_before, other_before, taken_before) = (before.common.word, before.common.other, before.common.taken);
        let found = before.common.starts(block, &kinds, after, after.classes[5], 3);
        let (mut certain, mut doubtful) = (found.certain, found.doubtful);
        // Punctuation that goes on with marks, and slashes behind the line breaks that it has taken along.
        doubtful |= marks & (others << 1 | other_before) | block.slashes & (found.taken << 1 | taken_before);

        // A sum carries over a run of letters that may be either from the small letter before it.
        let led = letters.either & (lower << 1 | before.small);
        let small = lower | letters.either & !letters.either.wrapping_add(led);
        let either = letters.either & !small;
        let starts_of_upper = letters.upper & !block.continuations;
        certain |= starts_of_upper & (small << 1 | before.small);

        // `[upper, either]* either` and then nothing but capitals to the end of the word, which are left out.
        let mut capitals = starts_of_upper & (either << 1 | before.either);
        while capitals != 0 {
            let place = capitals.trailing_zeros();
            capitals &= capitals - 1;
            let end = place + (letters.upper >> place).trailing_ones();
            let is_inside = if end < block.length {
                letters.words >> end & 1 == 1
            } else {
                let end = letters_after.upper.trailing_ones();
                if end >= after.length {
                    doubtful |= 1 << place;
                }
                letters_after.words.unbounded_shr(end) & 1 == 1
            };
            certain |= u64::from(!is_inside) << place;
        }
        (before.small, before.either) = (block.last(small), block.last(either));

        let mut contractions =
            block.apostrophes & (letters.words << 1 | word_before) & block.followed(letters.words, letters_after.words);
        let mut behind_contraction = 0;
        while contractions != 0 {
            let start = contractions & contractions.wrapping_neg();
            contractions &= !start;
            if start == behind_contraction {
                continue; // a word has but one; this apostrophe leads the next
            }
            let Some(end) = contraction_end(text, at + start.trailing_zeros() as usize) else { continue };
            // The next block would have to know of it; and letters that may be either would begin a word.
            if end - at >= block.length as usize || letters.either >> (end - at) & 1 == 1 {
                doubtful |= start;
            } else {
                behind_contraction = 1 << (end - at);
                certain = certain & !(behind_contraction - start) | behind_contraction;
            }
        }
        Starts { certain, doubtful }
    }

    #[inline]
    fn pretoken_end(self, text: &[u8], start: usize) -> usize {
        let (category, length) = category_at(text, start);
        if let Some(end) = word_end(text, start, category, length) {
            let is_contracted = text.get(end) == Some(&b'\'');
            return if is_contracted { contraction_end(text, end).unwrap_or(end) } else { end };
        }
        let next = start + length;
        match category.class() {
            Class::Number => return digits_end(text, start, 3),
            Class::Other => return punctuation_end(text, next, is_taken_along),
            Class::Space if text[start] == b' ' && next < text.len() => {
                let (category, length) = category_at(text, next);
                if category.class() == Class::Other {
                    return punctuation_end(text, next + length, is_taken_along);
                }
            }
            Class::Space => {}
            Class::Letter => unreachable!("a letter begins a word"),
        }
        let white = WhiteSpace::at(text, start);
        white.behind_break.unwrap_or_else(|| white.end_before_last(text))
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
