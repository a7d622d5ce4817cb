//! Which rule divides a text into pretokens: a named one, scanned by hand, or any regular expression.

use std::ops::Range;
use std::sync::Arc;

use fancy_regex::{Regex, RegexBuilder};

use super::unicode::{category_at, category_before};
use super::{cl100k, gpt2, o200k, superbpe};
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
    Cl100k(cl100k::Variant),
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
        scanner: Scanner::Cl100k(cl100k::Variant { max_digits: 3, keeps_end_whole: true }),
    },
    Named {
        name: "llama3",
        regexes: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        scanner: Scanner::Cl100k(cl100k::Variant { max_digits: 3, keeps_end_whole: false }),
    },
    Named {
        name: "qwen2",
        regexes: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        scanner: Scanner::Cl100k(cl100k::Variant { max_digits: 1, keeps_end_whole: false }),
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
    #[inline]
    pub(crate) fn for_each_pretoken(
        &self,
        text: &str,
        mut visit: impl FnMut(Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let named = match &self.0 {
            Rule::Scanned(named) => named,
            Rule::Regex(regex) => return for_each_match(regex, text, visit),
        };
        let bytes = text.as_bytes();
        let mut start = 0;
        let mut visit_end = |end| {
            visit(start..end)?;
            start = end;
            Ok(())
        };
        match named.scanner {
            Scanner::Gpt2 => gpt2::for_each_end(bytes, classifier(), visit_end),
            Scanner::Cl100k(variant) => {
                for_each_end(bytes, |start| cl100k::pretoken_end(variant, bytes, start), visit_end)
            }
            Scanner::O200k => for_each_end(bytes, |start| o200k::pretoken_end(bytes, start), &mut visit_end),
            Scanner::SuperBpe => for_each_end(bytes, |start| superbpe::pretoken_end(bytes, start), &mut visit_end),
        }
    }
}

#[inline]
fn for_each_end(
    text: &[u8],
    pretoken_end: impl Fn(usize) -> usize,
    mut visit: impl FnMut(usize) -> Result<()>,
) -> Result<()> {
    let mut start = 0;
    while start < text.len() {
        start = pretoken_end(start);
        visit(start)?;
    }
    Ok(())
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
mod tests {
    use proptest::prelude::*;

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
    fn the_spellings_of_a_named_pattern_are_recognised() {
        for named in &NAMED {
            for regex in named.regexes {
                assert_eq!(Pattern::parse(regex).unwrap().as_str(), named.name);
            }
        }
    }

    /// The expression itself, by the engine, with no name recognised.
    fn by_regex(regex: &Regex, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for_each_match(regex, text, |range| {
            found.push(text[range].to_owned());
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn scanners_agree_with_their_regexes_around_every_code_point() {
        for named in &NAMED {
            let regexes: Vec<Regex> = named.regexes.iter().map(|regex| Regex::new(regex).unwrap()).collect();
            for character in '\0'..=char::MAX {
                let c = character;
                let text = format!("a{c}b {c}A{c}{c}b'{c}S'{c}\r\n{c}/ \n {c}1{c}23'll{c}!{c}\n/{c} {c}");
                let found = pretokens(named.name, &text).unwrap();
                assert_eq!(found, by_regex(&regexes[0], &text), "{} {character:?}", named.name);
                if character < '\u{3100}' {
                    for regex in &regexes[1..] {
                        assert_eq!(found, by_regex(regex, &text), "{} {character:?}", named.name);
                    }
                }
            }
        }
    }

    const PIECES: &[&str] = &[
        "'",
        "s",
        "S",
        "D",
        "ll",
        "lL",
        "ve",
        "RE",
        "\u{17f}",
        "x",
        "X",
        "é",
        "É",
        "ǅ",
        "ʰ",
        "日",
        "0",
        "9",
        "٣",
        "½",
        " ",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\t",
        "\u{85}",
        "\u{a0}",
        "\u{3000}",
        "\u{1c}",
        "/",
        "!",
        ".",
        "\u{301}",
        "\u{93e}",
        "👩\u{200d}💻",
        "\u{212a}",
        "\0",
        "\u{10ffff}",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8_000))]

        #[test]
        fn scanners_agree_with_their_regexes_on_adversarial_text(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..100), which in 0..NAMED.len()
        ) {
            let text = pieces.concat();
            let regex = Regex::new(NAMED[which].regexes[0]).unwrap();
            prop_assert_eq!(pretokens(NAMED[which].name, &text).unwrap(), by_regex(&regex, &text));
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
