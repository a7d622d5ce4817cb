//! What to train.

use super::pairs::Limits;
use crate::error::{Error, Result};
use crate::split::Pattern;
use crate::vocab::MAX_VOCAB_SIZE;

/// What to train.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The number of tokens wished for: the 256 bytes, the merges and the special tokens together.
    pub vocab_size: usize,
    /// Strings that stand for themselves: boundaries in the text, never counted, appended to the vocabulary.
    pub special_tokens: Vec<String>,
    /// How text is divided into pretokens.
    pub pattern: Pattern,
    /// At least 1; the result does not depend on it.
    pub num_threads: usize,
    /// Pairs that occur less often are not merged; at least 1.
    pub min_frequency: u64,
    /// Pairs that are longer together, in bytes, are not merged; at least 1.
    pub max_token_length: usize,
}

impl Default for TrainOptions {
    /// The bytes alone, from one thread, with nothing special, by GPT-2's pattern and without limits.
    fn default() -> Self {
        Self {
            vocab_size: 256,
            special_tokens: Vec::new(),
            pattern: Pattern::parse("gpt2").expect("it is a name"),
            num_threads: 1,
            min_frequency: 1,
            max_token_length: usize::MAX,
        }
    }
}

impl TrainOptions {
    pub(super) fn check(&self) -> Result<()> {
        let smallest = 256 + new_special_tokens(&self.special_tokens).count();
        let vocab_size = self.vocab_size;
        if vocab_size < smallest {
            return Err(Error::invalid(format!(
                "vocab_size must be at least {smallest} (256 bytes + {} special tokens), got {vocab_size}",
                smallest - 256,
            )));
        }
        if vocab_size > MAX_VOCAB_SIZE {
            return Err(Error::invalid(format!("vocab_size must be at most {MAX_VOCAB_SIZE}, got {vocab_size}")));
        }
        if self.num_threads == 0 {
            return Err(Error::invalid("num_threads must be at least 1, got 0"));
        }
        if self.min_frequency == 0 {
            return Err(Error::invalid("min_frequency must be at least 1 (every pair), got 0"));
        }
        if self.max_token_length == 0 {
            return Err(Error::invalid("max_token_length must be at least 1 (no merges), got 0"));
        }
        Ok(())
    }

    pub(super) fn num_merges(&self) -> usize {
        self.vocab_size - 256 - new_special_tokens(&self.special_tokens).count()
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            min_count: self.min_frequency,
            max_length: self.max_token_length,
            max_words: usize::MAX,
            forbidden: Vec::new(),
        }
    }
}

/// The special tokens that are not tokens already. No merge can spell one out, as their texts are cut at them, so
/// that only single bytes are left out.
pub(super) fn new_special_tokens(tokens: &[String]) -> impl Iterator<Item = &String> {
    tokens.iter().filter(|token| token.len() > 1)
}
