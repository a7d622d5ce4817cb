//! Which rule divides a text into pretokens: a named one, scanned by hand, or any regular expression.

use std::ops::Range;
use std::sync::Arc;

use fancy_regex::{Regex, RegexBuilder};

use super::gpt2;
use crate::error::{Error, Result};
use crate::raw::classify::classifier;

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
    Gpt2,
    Regex(Arc<Regex>),
}

impl Pattern {
    /// The pattern called `"gpt2"`, or the regular expression itself. GPT-2's expression, in either of its usual
    /// spellings, is recognised and scanned by hand.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is empty, does not compile or compiles to too much.
    pub fn parse(name_or_regex: &str) -> Result<Self> {
        match name_or_regex {
            "gpt2" | gpt2::REGEX | gpt2::ORIGINAL_REGEX => Ok(Self(Rule::Gpt2)),
            "" => Err(Error::invalid("the pattern is empty, expected \"gpt2\" or a regular expression")),
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
                        "the pattern {regex:?} is neither \"gpt2\" nor a valid regular expression: {error}"
                    ))
                }),
        }
    }

    /// The name of a named pattern, otherwise the regular expression.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Rule::Gpt2 => "gpt2",
            Rule::Regex(regex) => regex.as_str(),
        }
    }

    /// The regular expression, also for a named pattern.
    pub fn regex(&self) -> &str {
        match &self.0 {
            Rule::Gpt2 => gpt2::REGEX,
            Rule::Regex(regex) => regex.as_str(),
        }
    }

    /// Whether the places where a text may be cut are known from the characters around them.
    pub(crate) fn splits_locally(&self) -> bool {
        matches!(self.0, Rule::Gpt2)
    }

    /// Calls `visit` with the range of each pretoken of `text`, which holds no special token, in order. The ranges
    /// tile the text: what a regular expression leaves unmatched is a pretoken too, so that nothing is dropped.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the regular expression backtracks beyond its limit; and those of `visit`.
    #[inline]
    pub(crate) fn for_each_pretoken(
        &self,
        text: &str,
        mut visit: impl FnMut(Range<usize>) -> Result<()>,
    ) -> Result<()> {
        match &self.0 {
            Rule::Gpt2 => {
                let mut start = 0;
                gpt2::for_each_end(text.as_bytes(), classifier(), |end| {
                    visit(start..end)?;
                    start = end;
                    Ok(())
                })
            }
            Rule::Regex(regex) => for_each_match(regex, text, visit),
        }
    }
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
         backtracking, or use the named pattern \"gpt2\"",
        regex.as_str()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pretokens(pattern: &str, text: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        Pattern::parse(pattern)?.for_each_pretoken(text, |range| {
            found.push(text[range].to_owned());
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn text_that_a_regex_leaves_out_is_kept() {
        assert_eq!(pretokens("[a-z]+", "1ab2 cd3").unwrap(), ["1", "ab", "2 ", "cd", "3"]);
        assert_eq!(pretokens("x*", "aab").unwrap(), ["aab"]);
    }

    #[test]
    fn both_spellings_of_gpt2_are_the_named_pattern() {
        for regex in [gpt2::REGEX, gpt2::ORIGINAL_REGEX] {
            assert_eq!(Pattern::parse(regex).unwrap().as_str(), "gpt2");
        }
    }

    #[test]
    fn runaway_backtracking_is_an_error() {
        let text = " ".repeat(2_000_000) + "x";
        let error = pretokens(r"\s+(?!\S)|(?:a+)+b|\S+", &text).unwrap_err().to_string();
        assert!(error.contains("less backtracking"), "{error}");
    }

    #[test]
    fn a_bad_regex_is_named() {
        let error = pretokens("(", "").unwrap_err().to_string();
        assert!(error.contains("\"(\""), "{error}");
        assert!(pretokens("", "").is_err());
    }
}
