//! GPT-2's pattern by hand:
//!
//! ```text
//! '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//! ```
//!
//! Every character matches one of the alternatives, so the pretokens tile the text, and the first character (after
//! an optional space) decides which alternative it is. Only white space needs a look back: a run of it that is
//! followed by something gives its last character up, to become the leading space of the next pretoken or, if it is
//! not a plain space, a pretoken of its own.

use super::unicode::{ASCII, Class, class_at};

/// The pattern that this module stands for, as the course prints it.
pub(crate) const REGEX: &str = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The same language as GPT-2's authors wrote it.
pub(crate) const ORIGINAL_REGEX: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Where the pretoken that starts at `start` ends. `text` is valid UTF-8 and `start < text.len()`.
#[inline]
pub(crate) fn pretoken_end(text: &[u8], start: usize) -> usize {
    let (mut class, mut length) = class_at(text, start);
    let mut at = start;
    if class == Class::Space {
        let next = start + length;
        if next == text.len() {
            return next;
        }
        let (next_class, next_length) = class_at(text, next);
        if next_class == Class::Space {
            return space_run_end(text, next, next_length);
        }
        if text[start] != b' ' {
            return next;
        }
        (at, class, length) = (next, next_class, next_length);
    } else if text[start] == b'\''
        && let Some(end) = contraction_end(text, start)
    {
        return end;
    }
    run_end(text, at + length, class)
}

/// The end of the run of `class` that goes on at `at`.
#[inline]
fn run_end(text: &[u8], mut at: usize, class: Class) -> usize {
    while let Some(&byte) = text.get(at) {
        if let Some(&ascii_class) = ASCII.get(byte as usize) {
            if ascii_class != class {
                break;
            }
            at += 1;
        } else {
            let (next_class, length) = class_at(text, at);
            if next_class != class {
                break;
            }
            at += length;
        }
    }
    at
}

/// The end of a pretoken of white space whose run has a second character, `length` bytes long, at `second`.
fn space_run_end(text: &[u8], second: usize, length: usize) -> usize {
    let (mut last, mut end) = (second, second + length);
    while end < text.len() {
        let (class, length) = class_at(text, end);
        if class != Class::Space {
            return last;
        }
        (last, end) = (end, end + length);
    }
    end
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
pub(crate) fn always_splits(before: Class, is_apostrophe: bool, after: Class) -> bool {
    before != Class::Space && before != after && !(is_apostrophe && after == Class::Letter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The characters at which the alternatives of the pattern meet.
    pub(crate) const ADVERSARIAL: &[&str] = &[
        "'",
        "'",
        "s",
        "d",
        "m",
        "t",
        "l",
        "ll",
        "v",
        "r",
        "e",
        "S",
        "x",
        "é",
        "ß",
        "日",
        "本",
        "ʼ",
        "0",
        "9",
        "٣",
        "½",
        "Ⅷ",
        " ",
        " ",
        "  ",
        "\n",
        "\r",
        "\t",
        "\u{b}",
        "\u{c}",
        "\u{1c}",
        "\u{85}",
        "\u{a0}",
        "\u{2003}",
        "\u{2028}",
        "\u{3000}",
        "\u{180e}",
        "\u{200b}",
        "\u{feff}",
        ".",
        "!",
        "_",
        "\0",
        "\u{301}",
        "\u{fe0f}",
        "👩\u{200d}💻",
        "🙂",
        "\u{e000}",
        "\u{fffd}",
        "\u{d7ff}",
        "\u{10ffff}",
    ];

    fn by_scanner(text: &str) -> Vec<&str> {
        let mut pretokens = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let end = pretoken_end(text.as_bytes(), start);
            pretokens.push(&text[start..end]);
            start = end;
        }
        pretokens
    }

    fn by_regex<'t>(regex: &fancy_regex::Regex, text: &'t str) -> Vec<&'t str> {
        regex.find_iter(text).map(|found| found.unwrap().as_str()).collect()
    }

    #[test]
    fn agrees_with_the_regex_around_every_code_point() {
        let regexes = [REGEX, ORIGINAL_REGEX].map(|regex| fancy_regex::Regex::new(regex).unwrap());
        for character in '\0'..=char::MAX {
            for text in
                [format!("a{character}b {character}  {character}'{character}s"), format!("{character}1{character}")]
            {
                let expected = by_regex(&regexes[0], &text);
                assert_eq!(by_scanner(&text), expected, "{character:?}");
                if character < '\u{3100}' {
                    assert_eq!(by_regex(&regexes[1], &text), expected, "{character:?}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn agrees_with_the_regex_on_adversarial_text(
            pieces in prop::collection::vec(prop::sample::select(ADVERSARIAL), 0..40)
        ) {
            let text = pieces.concat();
            let regex = fancy_regex::Regex::new(REGEX).unwrap();
            prop_assert_eq!(by_scanner(&text), by_regex(&regex, &text));
        }

        #[test]
        fn agrees_with_the_regex_on_any_text(text in any::<String>()) {
            let regex = fancy_regex::Regex::new(REGEX).unwrap();
            prop_assert_eq!(by_scanner(&text), by_regex(&regex, &text));
        }
    }
}
