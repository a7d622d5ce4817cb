//! A text that arrives in pieces, encoded as if it were whole.

use super::{CacheGuard, Tokenizer};
use crate::control::Control;
use crate::error::Result;

/// Holds back what the next piece may still change: the text after the last safe cut, usually the last word.
///
/// The ids do not depend on where the pieces end. What is held back is bounded by the longest stretch without a safe
/// cut, which for the GPT-2 pattern is a single pretoken; for other regular expressions it reaches back to the last
/// special token.
#[derive(Debug, Default)]
pub struct StreamEncoder {
    held: String,
    /// How much of `held` was searched for a cut in vain, so that a long stretch is searched only once.
    searched: usize,
}

impl StreamEncoder {
    /// Nothing held.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of bytes held back.
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// Appends to `out` the ids that `piece` makes certain.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`]; then `out` is as it was.
    pub fn push(&mut self, tokenizer: &Tokenizer, piece: &str, out: &mut Vec<u32>) -> Result<()> {
        self.held.try_reserve(piece.len()).map_err(|_| crate::Error::OutOfMemory(self.held.len() + piece.len()))?;
        self.held.push_str(piece);
        // A place near the end may have been unsafe only because a special token seemed to begin there.
        let longest = tokenizer.specials.tokens().longest();
        let certain = self.searched.saturating_sub(longest + 4);
        let cut = tokenizer.cutter(&tokenizer.specials).last_after(self.held.as_bytes(), certain);
        if let Some(cut) = cut {
            encode_held(tokenizer, &self.held[..cut], out)?;
            self.held.drain(..cut);
        }
        self.searched = self.held.len();
        Ok(())
    }

    /// Appends the ids of what is held: the text ends here. The encoder can be used again for another text.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn finish(&mut self, tokenizer: &Tokenizer, out: &mut Vec<u32>) -> Result<()> {
        let held = std::mem::take(self).held;
        encode_held(tokenizer, &held, out)
    }
}

/// Appends the ids of a text, or nothing if that fails.
fn encode_held(tokenizer: &Tokenizer, text: &str, out: &mut Vec<u32>) -> Result<()> {
    let (length, mut cache) = (out.len(), CacheGuard::new(tokenizer));
    let encoded = tokenizer.encode_into(text, &tokenizer.specials, cache.cache(), out, &Control::new());
    if encoded.is_err() {
        out.truncate(length);
    }
    encoded.map(drop)
}
