//! GPT-2's pattern by hand:
//!
//! ```text
//! '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//! ```
//!
//! Every character matches one of the alternatives, so the pretokens tile the text: it is enough to know where one
//! starts. That is where the class of characters changes, with three exceptions. A space belongs to what follows it. A
//! run of white space that something follows gives its last character up: to what follows if that is a plain space,
//! or else as a pretoken of its own. And an apostrophe at the start of a pretoken may begin a contraction.

use super::unicode::{Class, class_at};
use crate::raw::classify::{BLOCK, Classify, Masks};

/// The pattern that this module stands for, as the course prints it.
pub(crate) const REGEX: &str = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The same language as GPT-2's authors wrote it.
pub(crate) const ORIGINAL_REGEX: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The same as tiktoken writes it, sparing its engine to backtrack.
pub(crate) const POSSESSIVE_REGEX: &str =
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s";

/// Calls `visit` with the end of each pretoken of `text`, which is valid UTF-8, in order.
///
/// Works on blocks of 64 bytes as bit masks: the bit of a byte says that a pretoken starts there. From the classes of
/// neighbouring characters that follows for all 64 at once; contractions are patched in one by one.
///
/// # Errors
/// Those of `visit`.
#[inline]
pub(crate) fn for_each_end<E>(
    text: &[u8],
    classify: Classify,
    mut visit: impl FnMut(usize) -> Result<(), E>,
) -> Result<(), E> {
    if text.is_empty() {
        return Ok(());
    }
    let mut unfinished = None;
    let mut block = Block::load(text, 0, classify, &mut unfinished);
    // What stands before the text is white space that joins nothing, and a pretoken starts at 0 all the same.
    let mut before = Block { spaces: u64::MAX, ..Block::default() };
    let mut patch = Patch { starts: 0, inside: 1 }; // 0 is a start, but not the end of anything
    for at in (0..text.len()).step_by(BLOCK) {
        let after = Block::load(text, at + BLOCK, classify, &mut unfinished);
        let mut starts = block.starts(&before, &after) & !patch.inside | patch.starts;
        patch = Patch::default();
        let mut contractions = block.apostrophes & starts & (block.letters >> 1 | 1 << 63);
        if at == 0 {
            contractions |= block.apostrophes & 1 & block.letters >> 1;
        }
        while contractions != 0 {
            let place = contractions.trailing_zeros();
            contractions &= contractions - 1;
            if let Some(end) = contraction_end(text, at + place as usize) {
                let length = (end - at) as u32 - place;
                let (inside, after_it) = (2_u128 << place, (1_u128 << length) << place);
                starts = starts & !(inside as u64) | after_it as u64;
                patch.inside |= (inside >> 64) as u64;
                patch.starts |= (after_it >> 64) as u64;
            }
        }
        if text.len() - at < BLOCK {
            starts &= (1 << (text.len() - at)) - 1;
        }
        while starts != 0 {
            visit(at + starts.trailing_zeros() as usize)?;
            starts &= starts - 1;
        }
        (before, block) = (block, after);
    }
    visit(text.len())
}

/// What the contractions of one block change in the next.
#[derive(Default)]
struct Patch {
    starts: u64,
    inside: u64,
}

/// The classes of 64 bytes; each byte of a character has the class of the character.
#[derive(Clone, Copy, Default)]
struct Block {
    letters: u64,
    numbers: u64,
    spaces: u64,
    blanks: u64,
    apostrophes: u64,
    beyond: u64,
    /// The bytes of characters but for the first of each.
    continuations: u64,
    /// The first bytes of white space beyond ASCII that something else follows.
    last_spaces: u64,
}

/// The class and the number of bytes that a character of one block has in the next.
type Unfinished = Option<(Class, usize)>;

impl Block {
    /// The block at `at`, filled up with spaces behind the end of the text.
    #[inline]
    fn load(text: &[u8], at: usize, classify: Classify, unfinished: &mut Unfinished) -> Self {
        let masks = match text.get(at..at + BLOCK) {
            Some(bytes) => classify(bytes.try_into().expect("the length of a block")),
            None => Self::load_last(&text[at.min(text.len())..], classify),
        };
        let mut block = Self {
            letters: masks.letters,
            numbers: masks.numbers,
            spaces: masks.spaces,
            blanks: masks.blanks,
            apostrophes: masks.apostrophes,
            beyond: masks.beyond,
            ..Self::default()
        };
        if masks.beyond != 0 {
            block.add_beyond_ascii(text, at, unfinished);
        }
        block
    }

    #[cold]
    fn load_last(rest: &[u8], classify: Classify) -> Masks {
        let mut padded = [b' '; BLOCK];
        padded[..rest.len()].copy_from_slice(rest);
        classify(&padded)
    }

    fn add_beyond_ascii(&mut self, text: &[u8], at: usize, unfinished: &mut Unfinished) {
        let mut left = self.beyond;
        if let Some((class, length)) = unfinished.take() {
            let bytes = (1 << length) - 1;
            self.add(class, bytes);
            self.continuations |= bytes;
            left &= !bytes;
        }
        while left != 0 {
            let place = left.trailing_zeros() as usize;
            let (class, length) = class_at(text, at + place);
            let bytes = ((1_u64 << length) - 1) << place;
            self.add(class, bytes);
            self.continuations |= bytes & (bytes << 1);
            left &= !bytes;
            let end = at + place + length;
            if class == Class::Space && end < text.len() && class_at(text, end).0 != Class::Space {
                self.last_spaces |= 1 << place;
            }
            if place + length > BLOCK {
                *unfinished = Some((class, place + length - BLOCK));
            }
        }
    }

    fn add(&mut self, class: Class, bytes: u64) {
        match class {
            Class::Letter => self.letters |= bytes,
            Class::Number => self.numbers |= bytes,
            Class::Space => self.spaces |= bytes,
            Class::Other => {}
        }
    }

    /// Where pretokens start, but for contractions.
    #[inline]
    fn starts(&self, before: &Self, after: &Self) -> u64 {
        let others = |block: &Self| !(block.letters | block.numbers | block.spaces);
        // The mask of the bytes whose predecessor is in the class.
        let preceded = |mask: u64, before: u64| mask << 1 | before >> 63;
        let changes = self.letters & !preceded(self.letters, before.letters)
            | self.numbers & !preceded(self.numbers, before.numbers)
            | others(self) & !preceded(others(self), others(before));
        let last_spaces = self.last_spaces | self.spaces & !self.beyond & !(self.spaces >> 1 | after.spaces << 63);
        (changes & !preceded(self.blanks, before.blanks)
            | self.spaces & (last_spaces | !preceded(self.spaces, before.spaces)))
            & !self.continuations
    }
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
pub(crate) fn always_splits(before: Class, before_byte: u8, after: Class) -> bool {
    before != Class::Space && before != after && !(before_byte == b'\'' && after == Class::Letter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::raw::classify;

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

    fn by_blocks(text: &str, classify: Classify) -> Vec<&str> {
        let mut pretokens = Vec::new();
        let mut start = 0;
        for_each_end(text.as_bytes(), classify, |end| {
            pretokens.push(&text[start..end]);
            start = end;
            Ok::<(), ()>(())
        })
        .unwrap();
        pretokens
    }

    fn by_regex<'t>(regex: &fancy_regex::Regex, text: &'t str) -> Vec<&'t str> {
        regex.find_iter(text).map(|found| found.unwrap().as_str()).collect()
    }

    #[test]
    fn agrees_with_the_regex_around_every_code_point() {
        let regexes = [REGEX, ORIGINAL_REGEX, POSSESSIVE_REGEX].map(|regex| fancy_regex::Regex::new(regex).unwrap());
        for character in '\0'..=char::MAX {
            for text in
                [format!("a{character}b {character}  {character}'{character}s"), format!("{character}1{character}")]
            {
                let expected = by_regex(&regexes[0], &text);
                assert_eq!(by_blocks(&text, classify::classifier()), expected, "{character:?}");
                if character < '\u{3100}' {
                    assert_eq!(by_regex(&regexes[1], &text), expected, "{character:?}");
                    assert_eq!(by_regex(&regexes[2], &text), expected, "{character:?}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn agrees_with_the_regex_on_adversarial_text(
            pieces in prop::collection::vec(prop::sample::select(ADVERSARIAL), 0..150)
        ) {
            let text = pieces.concat();
            let regex = fancy_regex::Regex::new(REGEX).unwrap();
            let expected = by_regex(&regex, &text);
            prop_assert_eq!(&by_blocks(&text, classify::classifier()), &expected);
            prop_assert_eq!(&by_blocks(&text, classify::portable), &expected);
        }

        #[test]
        fn agrees_with_the_regex_on_any_text(text in any::<String>()) {
            let regex = fancy_regex::Regex::new(REGEX).unwrap();
            prop_assert_eq!(by_blocks(&text, classify::classifier()), by_regex(&regex, &text));
        }
    }
}
