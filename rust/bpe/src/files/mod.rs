//! Tokenizers, texts and ids on disk.

pub(crate) mod atomic;
mod byte_chars;
mod content;
pub mod gpt2;
pub mod hf;
pub(crate) mod npy;
mod onig;
pub(crate) mod text;
pub mod tiktoken;

pub use self::atomic::write_file;
pub use self::content::canonical_content;

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;

use crate::encode::Tokenizer;
use crate::error::{Error, Result};
use crate::merges::Merges;
use crate::split::Pattern;

/// What a tokenizer is made of, as far as a file tells.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Ids and tokens, special ones among them.
    pub vocab: Vec<(u32, Vec<u8>)>,
    /// By rank.
    pub merges: Merges,
    /// Those that are not in `vocab` will be appended to it.
    pub special_tokens: Vec<String>,
    /// `None` where the format does not tell.
    pub pattern: Option<Pattern>,
    /// See [`Tokenizer::with_ignore_merges`].
    pub ignore_merges: bool,
    /// The ids of the tokens that the merges do not make, where reading has found out.
    pub never_made: Option<Vec<u32>>,
}

impl Contents {
    /// Adds special tokens to those known so far. One without an id has that of the vocabulary or gets the next free
    /// one.
    pub fn declare(&mut self, tokens: impl IntoIterator<Item = (String, Option<u32>)>) {
        let tokens: Vec<(String, Option<u32>)> = tokens.into_iter().collect();
        let wanted: HashSet<u32> = tokens.iter().filter_map(|(_, id)| *id).collect();
        let is_wanted = |entry: &&(u32, Vec<u8>)| wanted.contains(&entry.0);
        let in_vocab: HashSet<(u32, Vec<u8>)> = self.vocab.iter().filter(is_wanted).cloned().collect();
        let declared: HashSet<String> = self.special_tokens.iter().cloned().collect();
        for (token, id) in tokens {
            if let Some(id) = id {
                let entry = (id, token.as_bytes().to_vec());
                if !in_vocab.contains(&entry) {
                    self.vocab.push(entry);
                }
            }
            if !declared.contains(&token) {
                self.special_tokens.push(token);
            }
        }
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// As [`Tokenizer::new`], and [`Error::InvalidArgument`] without a pattern.
    pub fn build(self) -> Result<Tokenizer> {
        let Some(pattern) = self.pattern else {
            return Err(Error::invalid("no pattern is known for this vocabulary; say which divides the text"));
        };
        let tokenizer = Tokenizer::new(self.vocab, self.merges, &self.special_tokens, pattern)?;
        Ok(match self.never_made {
            Some(ids) if self.ignore_merges => tokenizer.with_never_made(&ids),
            _ => tokenizer.with_ignore_merges(self.ignore_merges),
        })
    }
}

fn parse_json<'de, T: Deserialize<'de>>(path: &Path, bytes: &'de [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::malformed(path, format!("not the expected JSON: {error}")))
}
