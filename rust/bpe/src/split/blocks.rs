//! The characters of a text by class, 64 bytes at a time as bit masks.
//!
//! Every byte of a character has the class of the character, so that neighbouring characters of a class are neighbouring
//! bits whatever their lengths; and a block holds whole characters only, so that nothing of one is left for the next.
//! ASCII takes some comparisons. Other characters are classed by pages: those that agree in all bytes but the last are
//! found by comparing these bytes, and one operation looks all their last bytes up in 64 bits. A text of one script
//! has a handful of pages, and most ideographs need none, as all that begin like them are letters.

#![allow(clippy::inline_always, reason = "see `scan`")]

use super::pages::{COARSE, FINE, Pages, page_of};
use crate::raw::simd::{BLOCK, Simd};

/// Classes of characters, `N` of them; what is in none of them is "other".
pub(super) trait Alphabet<const N: usize> {
    /// Letters without case.
    const IDEOGRAPHS: usize;
    const PAGES: &'static Pages<N>;

    /// The masks of the classes of ASCII characters.
    fn ascii<S: Simd>(simd: S, bytes: S::Bytes) -> [u64; N];
}

/// Letters, numbers, white space.
pub(super) struct Coarse;

impl Alphabet<3> for Coarse {
    const IDEOGRAPHS: usize = 0;
    const PAGES: &'static Pages<3> = &COARSE;

    #[inline(always)]
    fn ascii<S: Simd>(simd: S, bytes: S::Bytes) -> [u64; 3] {
        [simd.in_range(simd.set_case_bit(bytes), b'a', 26), simd.in_range(bytes, b'0', 10), white_space(simd, bytes)]
    }
}

/// Upper case letters, lower case letters, letters without case, marks, numbers, white space.
pub(super) struct Fine;

impl Alphabet<6> for Fine {
    const IDEOGRAPHS: usize = 2;
    const PAGES: &'static Pages<6> = &FINE;

    #[inline(always)]
    fn ascii<S: Simd>(simd: S, bytes: S::Bytes) -> [u64; 6] {
        let (upper, lower) = (simd.in_range(bytes, b'A', 26), simd.in_range(bytes, b'a', 26));
        [upper, lower, 0, 0, simd.in_range(bytes, b'0', 10), white_space(simd, bytes)]
    }
}

#[inline(always)]
fn white_space<S: Simd>(simd: S, bytes: S::Bytes) -> u64 {
    simd.equal(bytes, b' ') | simd.in_range(bytes, b'\t', 5)
}

/// One bit for each byte of a block, the first byte in the lowest bit.
#[derive(Clone, Copy)]
pub(super) struct Block<const N: usize> {
    /// Those of the alphabet.
    pub(super) classes: [u64; N],
    /// Space alone.
    pub(super) blanks: u64,
    /// `\r` and `\n`.
    pub(super) lines: u64,
    pub(super) apostrophes: u64,
    pub(super) slashes: u64,
    /// Not ASCII.
    pub(super) beyond: u64,
    /// The bytes of characters but for the first of each.
    pub(super) continuations: u64,
    /// All but the bytes of a last character that does not fit.
    pub(super) whole: u64,
    /// How many bytes of the text the block stands for: 64 unless the last character does not fit or the text ends.
    /// Behind the end of the text there is padding.
    pub(super) length: u32,
}

impl<const N: usize> Block<N> {
    /// What stands before the first.
    pub(super) const EMPTY: Self = Self {
        classes: [0; N],
        blanks: 0,
        lines: 0,
        apostrophes: 0,
        slashes: 0,
        beyond: 0,
        continuations: 0,
        whole: 0,
        length: 0,
    };

    /// The block at `at`, where a character begins or the text has ended.
    #[inline(always)]
    pub(super) fn load<S: Simd, A: Alphabet<N>>(simd: S, text: &[u8], at: usize, padding: u8) -> Self {
        let rest = text.get(at..).unwrap_or_default();
        let mut padded;
        let bytes = if let Some(bytes) = rest.first_chunk::<BLOCK>() {
            bytes
        } else {
            padded = [padding; BLOCK];
            padded[..rest.len()].copy_from_slice(rest);
            &padded
        };
        let loaded = simd.load(bytes);
        let mut block = Self {
            classes: A::ascii(simd, loaded),
            blanks: simd.equal(loaded, b' '),
            lines: simd.equal(loaded, b'\n') | simd.equal(loaded, b'\r'),
            apostrophes: simd.equal(loaded, b'\''),
            slashes: simd.equal(loaded, b'/'),
            beyond: simd.beyond_ascii(loaded),
            continuations: 0,
            whole: u64::MAX,
            length: rest.len().min(BLOCK) as u32,
        };
        if block.beyond != 0 {
            block.add_beyond_ascii::<S, A>(simd, loaded, bytes);
        }
        block
    }

    #[inline(always)]
    fn add_beyond_ascii<S: Simd, A: Alphabet<N>>(&mut self, simd: S, loaded: S::Bytes, bytes: &[u8; BLOCK]) {
        self.continuations = simd.in_range(loaded, 0x80, 0x40);
        let of_three_or_more = simd.in_range(loaded, 0xE0, 0x20);
        let mut left = self.beyond & !self.continuations;
        // One character at most: it is the last.
        let of_four = simd.in_range(loaded, 0xF0, 0x10);
        let unfinished = left & (1 << 63) | of_three_or_more & (0b11 << 62) | of_four & (0b111 << 61);
        if unfinished != 0 {
            self.length = unfinished.trailing_zeros();
            self.whole = unfinished - 1;
            self.continuations &= self.whole;
            left &= self.whole;
        }
        if of_three_or_more != 0 {
            // U+5000 to U+9FFF, U+B000 to U+CFFF, and U+4000 to U+4FFF but for the hexagrams.
            let letters = simd.in_range(loaded, 0xE5, 5)
                | simd.in_range(loaded, 0xEB, 2)
                | simd.equal(loaded, 0xE4) & !(simd.equal(loaded, 0xB7) >> 1);
            let letters = letters & left;
            self.classes[A::IDEOGRAPHS] |= letters | letters << 1 | letters << 2;
            left &= !letters;
        }
        while left != 0 {
            let place = left.trailing_zeros() as usize;
            let [first, second, third] = [0, 1, 2].map(|ahead| bytes[(place + ahead) % BLOCK]);
            let low = |byte: u8| u32::from(byte & 0x3F);
            let mut alike = left & simd.equal(loaded, first);
            let code_point = if first < 0xE0 {
                (u32::from(first) & 0x1F) << 6
            } else {
                alike &= simd.equal(loaded, second) >> 1;
                if first < 0xF0 {
                    (u32::from(first) & 0xF) << 12 | low(second) << 6
                } else {
                    alike &= simd.equal(loaded, third) >> 2;
                    (u32::from(first) & 7) << 18 | low(second) << 12 | low(third) << 6
                }
            };
            left &= !alike;
            let (has_third, has_fourth) = (u64::from(first >= 0xE0), u64::from(first >= 0xF0));
            let last = alike << (1 + has_third + has_fourth);
            for (class, &members) in self.classes.iter_mut().zip(page_of(A::PAGES, code_point)) {
                if members != 0 {
                    let last = if members == u64::MAX { last } else { last & simd.members(loaded, members) };
                    // In all bytes of each character.
                    *class |= last | last >> 1 | (last * has_third) >> 2 | (last * has_fourth) >> 3;
                }
            }
        }
    }

    /// What is in no class.
    #[inline(always)]
    pub(super) fn others(&self) -> u64 {
        !self.classes.iter().fold(0, |known, class| known | class) & self.whole
    }

    /// Which bytes of the block stand before a byte that is in `mask`; `after` is the same mask of the next block.
    #[inline(always)]
    pub(super) fn followed(&self, mask: u64, after: u64) -> u64 {
        mask >> 1 | (after & 1) << self.last_bit()
    }

    /// Moves bits from the last bytes of characters to their first ones.
    #[inline(always)]
    pub(super) fn first_bytes(&self, last_bytes: u64) -> u64 {
        let beyond = last_bytes & self.continuations;
        if beyond == 0 {
            return last_bytes;
        }
        let second = beyond & !(self.continuations << 1);
        let third = beyond & self.continuations << 1 & !(self.continuations << 2);
        let fourth = beyond & self.continuations << 1 & self.continuations << 2;
        last_bytes & !beyond | second >> 1 | third >> 2 | fourth >> 3
    }

    /// The byte behind each character whose first byte is in `first_bytes`, and whether one is the block's last.
    #[inline(always)]
    pub(super) fn behind(&self, first_bytes: u64) -> (u64, u64) {
        // The sum carries over the continuation bytes of the character.
        let (sum, is_beyond) = self.continuations.overflowing_add(first_bytes << 1);
        let behind = sum & !self.continuations;
        let is_last = u64::from(is_beyond) | first_bytes >> 63 | behind.checked_shr(self.length).unwrap_or(0);
        (behind, is_last & 1)
    }

    /// 1 if the last byte is in `mask`, else 0.
    #[inline(always)]
    pub(super) fn last(&self, mask: u64) -> u64 {
        mask >> self.last_bit() & 1
    }

    #[inline(always)]
    fn last_bit(&self) -> u32 {
        self.length.wrapping_sub(1) % BLOCK as u32
    }
}

#[cfg(test)]
mod tests {
    use super::super::unicode::{Category, category_at};
    use super::*;
    use crate::raw::simd::{Instructions, Job};

    /// The classes of every byte, block by block.
    struct Classes<'t>(&'t str);

    impl Job for Classes<'_> {
        type Output = Vec<(Category, bool)>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Self::Output {
            let mut found = Vec::new();
            while found.len() < self.0.len() {
                let coarse = Block::load::<S, Coarse>(simd, self.0.as_bytes(), found.len(), b'x');
                let block = Block::load::<S, Fine>(simd, self.0.as_bytes(), found.len(), b'x');
                let [upper, lower, caseless, marks, numbers, spaces] = block.classes;
                assert_eq!(coarse.classes, [upper | lower | caseless, numbers, spaces]);
                assert_eq!(coarse.others(), block.others() | marks);
                assert_eq!(coarse.length, block.length);
                for place in 0..block.length {
                    let category = [
                        (upper, Category::Upper),
                        (lower, Category::Lower),
                        (caseless, Category::Caseless),
                        (marks, Category::Mark),
                        (numbers, Category::Number),
                        (spaces, Category::Space),
                        (block.others(), Category::Other),
                    ];
                    let mut of_place = category.iter().filter(|(mask, _)| mask >> place & 1 == 1);
                    let (_, category) = of_place.next().expect("a class");
                    assert!(of_place.next().is_none());
                    found.push((*category, block.continuations >> place & 1 == 1));
                }
            }
            found
        }
    }

    fn by_characters(text: &str) -> Vec<(Category, bool)> {
        let classes = text.char_indices().flat_map(|(at, character)| {
            let (category, length) = category_at(text.as_bytes(), at);
            assert_eq!(length, character.len_utf8());
            (0..length).map(move |byte| (category, byte > 0))
        });
        classes.collect()
    }

    #[test]
    fn every_code_point_has_its_class_in_every_place() {
        // With many others of its page and of other pages beside it, and at all distances from the end of a block.
        let mut text = String::new();
        for character in '\0'..=char::MAX {
            text.push(character);
            if u32::from(character) % 67 == 0 {
                text += "é日a\u{301}🙂 ";
            }
        }
        for instructions in Instructions::all() {
            for start in ["", "a", "ab", "abc"] {
                let text = format!("{start}{text}");
                assert!(instructions.run(Classes(&text)) == by_characters(&text), "{instructions:?}");
            }
        }
    }
}
