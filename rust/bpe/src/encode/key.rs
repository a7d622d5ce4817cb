//! What a pretoken is looked up by.

use crate::word_key;

/// A packed byte string (see [`word_key`]).
pub(super) trait Key: Copy {
    /// Its words of 64 bits. The last of them is neither 0 nor `u64::MAX`: its highest byte is a length.
    const NUM_WORDS: usize;
    /// The most cache lines for entries of such keys.
    const MAX_LINES: usize;

    fn word(self, index: usize) -> u64;

    fn from_words(word: impl Fn(usize) -> u64) -> Self;

    fn hash(self) -> u32;
}

impl Key for u128 {
    const NUM_WORDS: usize = 2;
    const MAX_LINES: usize = 1 << 19;

    #[inline]
    fn word(self, index: usize) -> u64 {
        (self >> (64 * index)) as u64
    }

    #[inline]
    fn from_words(word: impl Fn(usize) -> u64) -> Self {
        Self::from(word(0)) | Self::from(word(1)) << 64
    }

    #[inline]
    fn hash(self) -> u32 {
        word_key::hash(self) as u32
    }
}

impl Key for [u128; 2] {
    const NUM_WORDS: usize = 4;
    const MAX_LINES: usize = 1 << 18;

    #[inline]
    fn word(self, index: usize) -> u64 {
        self[index / 2].word(index % 2)
    }

    #[inline]
    fn from_words(word: impl Fn(usize) -> u64) -> Self {
        [0, 2].map(|first| u128::from_words(|index| word(first + index)))
    }

    #[inline]
    fn hash(self) -> u32 {
        (word_key::hash(self[0]) ^ word_key::hash(self[1]).rotate_left(32)) as u32
    }
}
