//! What the patterns ask about a character: letter, number, white space or something else.

use super::classes::{BLOCK_OF, BLOCKS};

/// The classes that the GPT-2 pattern tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// `\p{L}`
    Letter,
    /// `\p{N}`
    Number,
    /// `\s`
    Space,
    /// `[^\s\p{L}\p{N}]`
    Other,
}

/// The finer classes of the patterns that look at the case of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Category {
    /// `[\p{Lu}\p{Lt}]`
    Upper,
    /// `\p{Ll}`
    Lower,
    /// `[\p{Lm}\p{Lo}]`
    Caseless,
    /// `\p{M}`
    Mark,
    /// `\p{N}`
    Number,
    /// `\s`
    Space,
    /// None of these.
    Other,
}

impl Category {
    fn of(code_point: u32) -> Self {
        let block = BLOCK_OF[(code_point >> 8) as usize];
        match BLOCKS[block as usize][(code_point & 0xFF) as usize] {
            b'1' => Self::Upper,
            b'2' => Self::Lower,
            b'3' => Self::Caseless,
            b'4' => Self::Mark,
            b'5' => Self::Number,
            b'6' => Self::Space,
            _ => Self::Other,
        }
    }

    /// The coarser class.
    pub(crate) fn class(self) -> Class {
        match self {
            Self::Upper | Self::Lower | Self::Caseless => Class::Letter,
            Self::Number => Class::Number,
            Self::Space => Class::Space,
            Self::Mark | Self::Other => Class::Other,
        }
    }
}

/// The categories of the 128 ASCII characters.
static ASCII_CATEGORIES: [Category; 128] = {
    let mut categories = [Category::Other; 128];
    let mut byte = 0u8;
    while byte < 128 {
        categories[byte as usize] = match byte {
            b'A'..=b'Z' => Category::Upper,
            b'a'..=b'z' => Category::Lower,
            b'0'..=b'9' => Category::Number,
            b'\t'..=b'\r' | b' ' => Category::Space,
            _ => Category::Other,
        };
        byte += 1;
    }
    categories
};

/// The category and the length in bytes of the character at `at`; malformed UTF-8 as in [`class_at`].
#[inline]
pub(crate) fn category_at(text: &[u8], at: usize) -> (Category, usize) {
    match ASCII_CATEGORIES.get(text[at] as usize) {
        Some(&category) => (category, 1),
        None => {
            decode(text, at).map_or((Category::Other, 1), |(code_point, length)| (Category::of(code_point), length))
        }
    }
}

/// The classes of the 128 ASCII characters, one load away.
pub(crate) static ASCII: [Class; 128] = {
    let mut classes = [Class::Other; 128];
    let mut byte = 0u8;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'0'..=b'9' => Class::Number,
            b'\t'..=b'\r' | b' ' => Class::Space,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};

/// The class and the length in bytes of the character at `at`.
///
/// Reads malformed UTF-8 without complaint, as class `Other` one byte at a time: cutting looks at bytes that are
/// validated only later.
#[inline]
pub(crate) fn class_at(text: &[u8], at: usize) -> (Class, usize) {
    let lead = text[at];
    if lead < 0x80 { (ASCII[lead as usize], 1) } else { class_beyond_ascii(text, at) }
}

fn class_beyond_ascii(text: &[u8], at: usize) -> (Class, usize) {
    decode(text, at).map_or((Class::Other, 1), |(code_point, length)| (Category::of(code_point).class(), length))
}

/// The code point beyond ASCII at `at` and its length in bytes; `None` if it is malformed.
fn decode(text: &[u8], at: usize) -> Option<(u32, usize)> {
    let (length, high_bits) = match text[at] {
        lead @ 0xC2..=0xDF => (2, u32::from(lead & 0x1F)),
        lead @ 0xE0..=0xEF => (3, u32::from(lead & 0x0F)),
        lead @ 0xF0..=0xF4 => (4, u32::from(lead & 0x07)),
        _ => return None,
    };
    let rest = text.get(at + 1..at + length)?;
    let code_point = rest.iter().fold(high_bits, |bits, byte| bits << 6 | u32::from(byte & 0x3F));
    (code_point <= 0x10_FFFF).then_some((code_point, length))
}

/// The category of the character that ends right before `end`, which must not be 0.
pub(crate) fn category_before(text: &[u8], end: usize) -> Category {
    let mut at = end - 1;
    while at > 0 && end - at < 4 && is_continuation(text[at]) {
        at -= 1;
    }
    category_at(&text[..end], at).0
}

/// Whether a byte is the second or a later one of a character.
#[inline]
pub(crate) fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

#[cfg(test)]
mod tests {
    use regex_syntax::hir::{Class as HirClass, HirKind};

    use super::*;

    fn contains(pattern: &str) -> impl Fn(u32) -> bool {
        let hir = regex_syntax::parse(pattern).unwrap();
        let HirKind::Class(HirClass::Unicode(class)) = hir.into_kind() else { panic!("not a Unicode class") };
        let mut member = vec![false; 0x11_0000];
        for range in class.ranges() {
            member[range.start() as usize..=range.end() as usize].fill(true);
        }
        move |code_point| member[code_point as usize]
    }

    #[test]
    fn every_code_point_is_classed_as_the_regex_does() {
        let (letter, number, space) = (contains(r"\p{L}"), contains(r"\p{N}"), contains(r"\s"));
        let mut buffer = [0; 4];
        for character in '\0'..=char::MAX {
            let code_point = u32::from(character);
            let expected = match code_point {
                c if letter(c) => Class::Letter,
                c if number(c) => Class::Number,
                c if space(c) => Class::Space,
                _ => Class::Other,
            };
            let encoded = character.encode_utf8(&mut buffer).as_bytes();
            assert_eq!(class_at(encoded, 0), (expected, encoded.len()), "{character:?}");
            assert_eq!(category_before(encoded, encoded.len()).class(), expected, "{character:?}");
        }
    }

    #[test]
    fn malformed_bytes_are_read_one_at_a_time_without_panic() {
        for lead in 0x80..=0xFF {
            for text in [&[lead][..], &[lead, 0x20], &[lead, 0xBF, 0xBF], &[0xF4, lead, 0xBF, 0xBF]] {
                for at in 0..text.len() {
                    let (_, length) = class_at(text, at);
                    assert!(at + length <= text.len());
                    category_before(text, at + 1);
                }
            }
        }
    }
}
