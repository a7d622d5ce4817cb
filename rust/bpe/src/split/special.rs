//! Special tokens: strings that stand for themselves. They are hard boundaries, found before the pattern is applied,
//! the leftmost first and of those that start together the longest.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use rustc_hash::FxHashMap;

use crate::error::{Error, Result};

/// A set of special tokens, ready to be searched for.
#[derive(Clone, Debug)]
pub struct SpecialTokens {
    tokens: Vec<String>,
    matcher: Option<AhoCorasick>,
    longest: usize,
    /// Whether some token begins with a byte: most places are dismissed by one look.
    first_bytes: [bool; 256],
}

impl Default for SpecialTokens {
    /// None.
    fn default() -> Self {
        Self { tokens: Vec::new(), matcher: None, longest: 0, first_bytes: [false; 256] }
    }
}

/// A piece of a text that has been cut at its special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment<'t> {
    /// Ordinary text, never empty, with its offset.
    Text(usize, &'t str),
    /// The special token of this index.
    Special(usize),
}

impl SpecialTokens {
    /// The order of `tokens` is their index.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if one is empty or given twice.
    pub fn new(tokens: &[String]) -> Result<Self> {
        let mut positions = FxHashMap::default();
        for (index, token) in tokens.iter().enumerate() {
            if token.is_empty() {
                return Err(Error::invalid(format!("special token {index} is empty, expected at least one character")));
            }
            if let Some(first) = positions.insert(token, index) {
                return Err(Error::invalid(format!(
                    "special token {token:?} is given twice, at positions {first} and {index}; give each once"
                )));
            }
        }
        let matcher = if tokens.is_empty() {
            None
        } else {
            let matcher = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(tokens)
                .map_err(|error| Error::invalid(format!("the special tokens are too many or too long: {error}")))?;
            Some(matcher)
        };
        let longest = tokens.iter().map(String::len).max().unwrap_or(0);
        let mut first_bytes = [false; 256];
        for token in tokens {
            first_bytes[token.as_bytes()[0] as usize] = true;
        }
        Ok(Self { tokens: tokens.to_vec(), matcher, longest, first_bytes })
    }

    /// The tokens in the order of their index.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The length of the longest token in bytes, 0 without any.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// The special tokens after `from` that are ones in every reading of the text, the last one first.
    ///
    /// The search may begin in the middle of a token and so find what is none; but it finds every token that nothing
    /// lies across the start of.
    pub(crate) fn certain_from_last(&self, text: &[u8], from: usize) -> impl Iterator<Item = Range<usize>> {
        let matches = self.matcher.iter().flat_map(|matcher| matcher.find_iter(&text[from..]));
        let found: Vec<Range<usize>> = matches.map(|found| from + found.start()..from + found.end()).collect();
        found.into_iter().rev().filter(|token| !self.lies_across(text, token.start, false))
    }

    /// How many special tokens there are in `text`.
    pub(crate) fn count(&self, text: &str) -> u64 {
        self.matcher.as_ref().map_or(0, |matcher| matcher.find_iter(text).count() as u64)
    }

    /// Calls `visit` with each segment of `text` in order.
    ///
    /// # Errors
    /// Those of `visit`.
    pub(crate) fn for_each_segment<'t>(
        &self,
        text: &'t str,
        mut visit: impl FnMut(Segment<'t>) -> Result<()>,
    ) -> Result<()> {
        let mut start = 0;
        if let Some(matcher) = &self.matcher {
            for found in matcher.find_iter(text) {
                if start < found.start() {
                    visit(Segment::Text(start, &text[start..found.start()]))?;
                }
                visit(Segment::Special(found.pattern().as_usize()))?;
                start = found.end();
            }
        }
        if start < text.len() { visit(Segment::Text(start, &text[start..])) } else { Ok(()) }
    }

    /// Whether an occurrence of a special token lies across `at`, or, if `more_follows`, might once the text goes on.
    ///
    /// Occurrences are looked at whether or not the search from the left would pick them: a cut that crosses none of
    /// them crosses none of the picked ones either.
    pub(crate) fn lies_across(&self, text: &[u8], at: usize, more_follows: bool) -> bool {
        let earliest = at.saturating_sub(self.longest.saturating_sub(1));
        (earliest..at).filter(|&start| self.first_bytes[text[start] as usize]).any(|start| {
            self.tokens.iter().any(|token| {
                let token = token.as_bytes();
                let seen = &text[start..text.len().min(start + token.len())];
                start + token.len() > at && token.starts_with(seen) && (seen.len() == token.len() || more_follows)
            })
        })
    }

    /// The first special token at or after `from` that is one in every reading of the text: nothing that starts
    /// earlier lies across its start.
    pub(crate) fn find_certain(&self, text: &[u8], from: usize) -> Option<Range<usize>> {
        let matcher = self.matcher.as_ref()?;
        let mut from = from;
        while let Some(found) = matcher.find(&text[from..]) {
            let range = from + found.start()..from + found.end();
            if !self.lies_across(text, range.start, false) {
                return Some(range);
            }
            from = range.start + 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(tokens: &[&str], text: &str) -> Vec<String> {
        let tokens: Vec<String> = tokens.iter().map(ToString::to_string).collect();
        let specials = SpecialTokens::new(&tokens).unwrap();
        let mut found = Vec::new();
        specials
            .for_each_segment(text, |segment| {
                found.push(match segment {
                    Segment::Text(_, text) => text.to_owned(),
                    Segment::Special(index) => format!("[{index}]"),
                });
                Ok(())
            })
            .unwrap();
        found
    }

    #[test]
    fn the_leftmost_and_then_the_longest_wins() {
        assert_eq!(segments(&["ab", "abab", "ba"], "xababbab"), ["x", "[1]", "[2]", "b"]);
        assert_eq!(segments(&[], "ab"), ["ab"]);
        assert_eq!(segments(&["ab"], ""), [""; 0]);
    }

    #[test]
    fn empty_and_repeated_tokens_are_refused() {
        assert!(SpecialTokens::new(&["a".into(), String::new()]).is_err());
        assert!(SpecialTokens::new(&["a".into(), "b".into(), "a".into()]).is_err());
    }

    #[test]
    fn a_partial_token_counts_only_while_more_follows() {
        let specials = SpecialTokens::new(&["<|end|>".into()]).unwrap();
        assert!(specials.lies_across(b"a <|en", 4, true));
        assert!(!specials.lies_across(b"a <|en", 4, false));
        assert!(!specials.lies_across(b"a <|end|>", 2, true));
        assert!(specials.lies_across(b"a <|end|>", 8, false));
        assert!(!specials.lies_across(b"a <|end|>", 9, true));
    }

    #[test]
    fn an_occurrence_that_another_may_swallow_is_not_certain() {
        let specials = SpecialTokens::new(&["xa".into(), "ab".into()]).unwrap();
        assert_eq!(specials.find_certain(b"xab", 1), None);
        assert_eq!(specials.find_certain(b"xab ab", 1), Some(4..6));
    }
}
