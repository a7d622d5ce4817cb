//! Choices and texts out of bytes.

use std::borrow::Cow;

/// What real text rarely has side by side: apostrophes, all kinds of white space, marks, digits of several scripts,
/// joined emoji, neighbours of the surrogates.
const PIECES: [&str; 40] = [
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "\u{a0}",
    "\u{3000}",
    "\u{85}",
    "'s",
    "'LL",
    "'ſ",
    "'",
    "a",
    "Z",
    "the",
    " of",
    "é",
    "ǅ",
    "ß",
    "1",
    "2",
    "٣",
    "Ⅷ",
    "½",
    "\u{301}",
    "\u{20dd}",
    "日本",
    "ไทย",
    "한",
    "🙂",
    "👩\u{200d}👩",
    "\u{d7ff}",
    "\u{e000}",
    "\u{10ffff}",
    "\0",
    ".",
    "!!",
    "/",
    "<|e|>",
    "<|",
];

/// Reads choices from the front of the bytes; when they have run out, every choice is the first.
#[derive(Debug)]
pub struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    /// From the first byte on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.byte() & 1 == 0
    }

    /// Less than `limit`, which is at least 1.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % limit
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// The bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// A text of all the bytes that are left: as they are, or each choosing a piece.
    pub fn text(&mut self) -> Cow<'a, str> {
        if self.coin() {
            return String::from_utf8_lossy(self.rest());
        }
        self.rest().iter().map(|&byte| PIECES[usize::from(byte) % PIECES.len()]).collect::<String>().into()
    }
}
