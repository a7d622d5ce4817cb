//! Which rule divides a text into pretokens: a named one, scanned by hand, or any regular expression.

use std::ops::Range;
use std::sync::Arc;

use fancy_regex::{Regex, RegexBuilder};

use super::cl100k::{Cl100k, Variant};
use super::gpt2::Gpt2;
use super::o200k::O200k;
use super::scan::{Ends, MAX_ENDS, for_each_batch};
use super::unicode::{category_at, category_before};
use super::{cl100k, gpt2, o200k, superbpe};
use crate::error::{Error, Result};
use crate::raw::simd::Instructions;

/// How far a regular expression may backtrack within one match before it is given up as hostile.
const BACKTRACK_LIMIT: usize = 1_000_000;
/// The greatest compiled size of a regular expression, in bytes.
const COMPILED_SIZE_LIMIT: usize = 64 << 20;
/// The longest regular expression that is looked at, in bytes.
const SOURCE_SIZE_LIMIT: usize = 64 << 10;

/// A rule that divides text into pretokens, within which alone merges happen. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pattern(Rule);

#[derive(Clone, Debug)]
enum Rule {
    Scanned(&'static Named),
    Regex(Arc<Regex>),
}

/// A pattern that is scanned by hand.
#[derive(Debug)]
struct Named {
    name: &'static str,
    /// The expression that it stands for, and others that mean the same.
    regexes: &'static [&'static str],
    scanner: Scanner,
}

#[derive(Clone, Copy, Debug)]
enum Scanner {
    Gpt2,
    Cl100k(Cl100k),
    O200k,
    SuperBpe,
}

static NAMED: [Named; 6] = [
    Named {
        name: "gpt2",
        regexes: &[gpt2::REGEX, gpt2::ORIGINAL_REGEX, gpt2::POSSESSIVE_REGEX],
        scanner: Scanner::Gpt2,
    },
    Named {
        name: "cl100k",
        regexes: &[
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
            // As it has to be written for Hugging Face's engine.
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++\z|\s*[\r\n]|\s+(?!\S)|\s",
        ],
        scanner: Scanner::Cl100k(Cl100k(Variant { max_digits: 3, keeps_end_whole: true })),
    },
    Named {
        name: "llama3",
        regexes: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        scanner: Scanner::Cl100k(Cl100k(Variant { max_digits: 3, keeps_end_whole: false })),
    },
    Named {
        name: "qwen2",
        regexes: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        scanner: Scanner::Cl100k(Cl100k(Variant { max_digits: 1, keeps_end_whole: false })),
    },
    Named {
        name: "o200k",
        regexes: &[
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        scanner: Scanner::O200k,
    },
    Named { name: "superbpe", regexes: &[superbpe::REGEX], scanner: Scanner::SuperBpe },
];

impl Pattern {
    /// A named pattern (`"gpt2"`, `"cl100k"`, `"llama3"`, `"qwen2"`, `"o200k"`, `"superbpe"`), or the regular expression itself. That
    /// of a named pattern, in its usual spellings, is recognised and scanned by hand.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is empty, does not compile or compiles to too much.
    pub fn parse(name_or_regex: &str) -> Result<Self> {
        if let Some(named) =
            NAMED.iter().find(|named| named.name == name_or_regex || named.regexes.contains(&name_or_regex))
        {
            return Ok(Self(Rule::Scanned(named)));
        }
        match name_or_regex {
            "" => Err(Error::invalid(format!("the pattern is empty, expected {} or a regular expression", names()))),
            regex if regex.len() > SOURCE_SIZE_LIMIT => Err(Error::invalid(format!(
                "the pattern is {} bytes long, expected at most {SOURCE_SIZE_LIMIT}",
                regex.len()
            ))),
            regex => RegexBuilder::new(regex)
                .backtrack_limit(BACKTRACK_LIMIT)
                .delegate_size_limit(COMPILED_SIZE_LIMIT)
                .build()
                .map(|compiled| Self(Rule::Regex(Arc::new(compiled))))
                .map_err(|error| {
                    Error::invalid(format!(
                        "the pattern {regex:?} is neither {} nor a valid regular expression: {error}",
                        names()
                    ))
                }),
        }
    }

    /// The name of a named pattern, otherwise the regular expression.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Rule::Scanned(named) => named.name,
            Rule::Regex(regex) => regex.as_str(),
        }
    }

    /// The regular expression, also for a named pattern.
    pub fn regex(&self) -> &str {
        match &self.0 {
            Rule::Scanned(named) => named.regexes[0],
            Rule::Regex(regex) => regex.as_str(),
        }
    }

    /// Whether the places where a text may be cut are known from the characters around them.
    pub(crate) fn splits_locally(&self) -> bool {
        matches!(self.0, Rule::Scanned(_))
    }

    /// Whether such places may be far apart in ordinary text.
    pub(crate) fn splits_rarely(&self) -> bool {
        matches!(self.0, Rule::Scanned(Named { scanner: Scanner::SuperBpe, .. }))
    }

    /// Whether, on any text that has the same two characters around `at`, the pattern ends a pretoken there and comes
    /// to the same pretokens when the text is cut there. `at` lies between two characters of `text`.
    pub(crate) fn always_splits(&self, text: &[u8], at: usize) -> bool {
        let Rule::Scanned(named) = &self.0 else { return false };
        let (before, after) = (category_before(text, at), category_at(text, at).0);
        let (before_byte, after_byte) = (text[at - 1], text[at]);
        match named.scanner {
            Scanner::Gpt2 => gpt2::always_splits(before.class(), before_byte, after.class()),
            Scanner::Cl100k(_) => cl100k::always_splits(before.class(), before_byte, after.class(), after_byte),
            Scanner::O200k => o200k::always_splits(before, before_byte, after, after_byte),
            Scanner::SuperBpe => superbpe::always_splits(before.class(), after.class()),
        }
    }

    /// Calls `visit` with the range of each pretoken of `text`, which holds no special token, in order. The ranges
    /// tile the text: what a regular expression leaves unmatched is a pretoken too, so that nothing is dropped.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the regular expression backtracks beyond its limit; and those of `visit`.
    pub fn for_each_pretoken(&self, text: &str, mut visit: impl FnMut(Range<usize>) -> Result<()>) -> Result<()> {
        let mut start = 0;
        self.for_each_batch(text, 0..text.len(), &mut [0; MAX_ENDS], |ends| {
            ends.iter().try_for_each(|&end| visit(std::mem::replace(&mut start, end)..end))
        })
    }

    /// Calls `visit` with the ends in `text` of the successive pretokens of `text[range]`, at most [`MAX_ENDS`] at a time
    /// and at least one. `ends` is room for them.
    ///
    /// # Errors
    /// As [`for_each_pretoken`](Self::for_each_pretoken).
    pub(crate) fn for_each_batch(
        &self,
        text: &str,
        range: Range<usize>,
        ends: &mut Ends,
        visit: impl FnMut(&[usize]) -> Result<()>,
    ) -> Result<()> {
        self.for_each_batch_with(Instructions::best(), text, range, ends, visit)
    }

    fn for_each_batch_with(
        &self,
        instructions: Instructions,
        text: &str,
        range: Range<usize>,
        ends: &mut Ends,
        mut visit: impl FnMut(&[usize]) -> Result<()>,
    ) -> Result<()> {
        let named = match &self.0 {
            Rule::Scanned(named) => named,
            Rule::Regex(regex) => {
                return for_each_match(regex, &text[range.clone()], |found| visit(&[range.start + found.end]));
            }
        };
        let (bytes, start) = (&text.as_bytes()[..range.end], range.start);
        match named.scanner {
            Scanner::Gpt2 => for_each_batch(Gpt2, instructions, bytes, start, ends, &mut visit),
            Scanner::Cl100k(scanner) => for_each_batch(scanner, instructions, bytes, start, ends, &mut visit),
            Scanner::O200k => for_each_batch(O200k, instructions, bytes, start, ends, &mut visit),
            Scanner::SuperBpe => {
                let mut end = start;
                while end < bytes.len() {
                    end = superbpe::pretoken_end(bytes, end);
                    visit(&[end])?;
                }
                Ok(())
            }
        }
    }
}

/// The names, for error messages.
fn names() -> String {
    let names: Vec<String> = NAMED.iter().map(|named| format!("{:?}", named.name)).collect();
    names.join(", ")
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex() == other.regex()
    }
}

impl Eq for Pattern {}

fn for_each_match(regex: &Regex, text: &str, mut visit: impl FnMut(Range<usize>) -> Result<()>) -> Result<()> {
    let mut end_of_last = 0;
    for found in regex.find_iter(text) {
        let range = found.map_err(|error| backtracked(regex, end_of_last, &error))?.range();
        if range.is_empty() {
            continue;
        }
        if end_of_last < range.start {
            visit(end_of_last..range.start)?;
        }
        end_of_last = range.end;
        visit(range)?;
    }
    if end_of_last < text.len() { visit(end_of_last..text.len()) } else { Ok(()) }
}

fn backtracked(regex: &Regex, offset: usize, error: &fancy_regex::Error) -> Error {
    Error::invalid(format!(
        "the pattern {:?} gave up {offset} bytes into a piece of text ({error}); rewrite it so that it needs less \
         backtracking, or use one of {}",
        regex.as_str(),
        names()
    ))
}

#[cfg(test)]
mod tests;
