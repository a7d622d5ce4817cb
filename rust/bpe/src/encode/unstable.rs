//! The ids of a text that may go on: those that stay, and what the others may become.
//!
//! A text under way ends in the middle of something, and the ids of its end are not those that the whole text will
//! have. What an ending may become is asked by whoever continues a prompt without a bias from where it was cut. tiktoken
//! has such a method and calls it unstable itself; ours answers as it does (0.14), its limits included: a completion
//! reaches to the end of one token beyond the text, pretokens that end before the text does are taken to stay, and of
//! those that do not only what white space makes of its neighbours is seen.

use std::sync::OnceLock;

use rustc_hash::FxHashSet;

use super::{CacheGuard, Recognised, Tokenizer};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::memory::{append, with_capacity};
use crate::split::Segment;

/// The ids of an unfinished text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Of the beginning of the text: whatever follows, they stay.
    pub stable: Vec<u32>,
    /// What may come after them, in ascending order: each stands for the rest of the text or begins with it. None where
    /// the text ends with a special token.
    pub completions: Vec<Vec<u32>>,
}

/// The tokens that a text may come to, in the order of their bytes: those with a common beginning are neighbours. Sorted
/// when they are first asked for.
#[derive(Debug, Default)]
pub(super) struct ByBytes(OnceLock<Vec<u32>>);

impl ByBytes {
    /// The ids of those that begin with `bytes`.
    fn starting_with<'t>(&'t self, tokenizer: &'t Tokenizer, bytes: &[u8]) -> &'t [u32] {
        let token = |id: u32| tokenizer.vocab.bytes(id).unwrap_or_default();
        let sorted = self.0.get().unwrap_or_else(|| {
            let mut ids: Vec<u32> = tokenizer.vocab.iter().map(|(id, _)| id).collect();
            ids.retain(|&id| !tokenizer.is_only_special(id));
            ids.sort_unstable_by_key(|&id| token(id));
            // Only now: a process that was forked meanwhile would wait for a thread that it does not have.
            self.0.get_or_init(|| ids)
        });
        let from = &sorted[sorted.partition_point(|&id| token(id) < bytes)..];
        &from[..from.partition_point(|&id| token(id).starts_with(bytes))]
    }
}

impl Tokenizer {
    /// The ids of a text that may go on, with only the special tokens in `specials` recognised.
    ///
    /// Takes time that grows with the number of tokens that begin like the text ends, and with the last pretoken.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_unfinished(&self, text: &str, specials: &Recognised, control: &Control) -> Result<Unfinished> {
        let mut stable = self.encode_with(text, specials, 1, control)?;
        let num_stable = self.num_stable(&stable, self.length_of_last_pretoken(text, specials)?);
        let tail_bytes: usize = stable[num_stable..].iter().map(|&id| self.length_of(id)).sum();
        stable.truncate(num_stable);
        let tail = &text[text.len() - tail_bytes..];
        if tail.is_empty() {
            return Ok(Unfinished { stable, completions: Vec::new() });
        }

        let mut completions = Completions { tokenizer: self, tail, found: FxHashSet::default() };
        completions.add_single_tokens()?;
        completions.add_straddling_tokens(control)?;
        completions.add_split_white_space(control)?;
        Ok(Unfinished { stable, completions: completions.sorted()? })
    }

    /// The bytes of the last pretoken; 0 if the text is empty or ends with a special token.
    fn length_of_last_pretoken(&self, text: &str, specials: &Recognised) -> Result<usize> {
        let mut length = 0;
        specials.tokens().for_each_segment(text, |segment| {
            length = 0;
            let Segment::Text(_, segment) = segment else { return Ok(()) };
            self.pattern.for_each_pretoken(segment, |range| {
                length = range.len();
                Ok(())
            })
        })?;
        Ok(length)
    }

    /// How many of the ids stay, where the last `last_bytes` bytes are a pretoken that may go on. If that begins with
    /// white space it may come to be one with all white space before it (`\s*[\r\n]+` in the patterns after GPT-2's).
    fn num_stable(&self, ids: &[u32], last_bytes: usize) -> usize {
        let (mut num_stable, mut num_bytes) = (ids.len(), 0);
        while num_bytes < last_bytes {
            num_stable -= 1;
            num_bytes += self.length_of(ids[num_stable]);
        }
        let is_space = |id: u32| {
            let token = self.vocab.bytes(id).unwrap_or_default();
            !self.is_only_special(id) && token.iter().all(|byte| b" \n\t".contains(byte))
        };
        if ids.get(num_stable).is_some_and(|&id| is_space(id)) {
            num_stable -= ids[..num_stable].iter().rev().take_while(|&&id| is_space(id)).count();
        }
        num_stable
    }

    fn length_of(&self, id: u32) -> usize {
        self.vocab.bytes(id).map_or(0, <[u8]>::len)
    }
}

/// What the last bytes of a text may come to.
struct Completions<'t> {
    tokenizer: &'t Tokenizer,
    /// Never empty.
    tail: &'t str,
    found: FxHashSet<Vec<u32>>,
}

impl Completions<'_> {
    /// The tokens that begin with the tail.
    fn add_single_tokens(&mut self) -> Result<()> {
        let Self { tokenizer, tail, .. } = *self;
        tokenizer.by_bytes.starting_with(tokenizer, tail.as_bytes()).iter().try_for_each(|&id| self.add(&[id]))
    }

    /// For each token that begins with the last bytes of the tail: the ids of the tail with that token at its end, as
    /// far as they reach into the tail.
    fn add_straddling_tokens(&mut self, control: &Control) -> Result<()> {
        let Self { tokenizer, tail, .. } = *self;
        let (no_specials, mut cache) = (Recognised::default(), CacheGuard::new(tokenizer));
        let (mut bytes, mut ids) = (Vec::new(), Vec::new());
        for at in 1..tail.len() {
            let (before, after) = tail.as_bytes().split_at(at);
            for &token in tokenizer.by_bytes.starting_with(tokenizer, after) {
                control.check()?;
                bytes.clear();
                ids.clear();
                let token = tokenizer.vocab.bytes(token).unwrap_or_default();
                append(&mut bytes, before)?;
                append(&mut bytes, token)?;
                if let Ok(text) = std::str::from_utf8(&bytes) {
                    tokenizer.encode_into(text, &no_specials, cache.cache(), &mut ids, control)?;
                } else {
                    // The token ends within a character, and no pattern divides that.
                    tokenizer.table.encode(&bytes, &mut ids, control)?;
                }
                let num_reaching = self.num_reaching(&ids);
                self.add(&ids[..num_reaching])?;
            }
        }
        Ok(())
    }

    /// How many of the ids it takes to come to the end of the tail.
    fn num_reaching(&self, ids: &[u32]) -> usize {
        let mut num_bytes = 0;
        let is_short = |id: &&u32| {
            let is_short = num_bytes < self.tail.len();
            num_bytes += self.tokenizer.length_of(**id);
            is_short
        };
        ids.iter().take_while(is_short).count()
    }

    /// White space at the end of the tail may come to be a pretoken of its own (`\s+(?!\S)`).
    fn add_split_white_space(&mut self, control: &Control) -> Result<()> {
        let before = self.tail.strip_suffix(char::is_whitespace).unwrap_or_default();
        if before.is_empty() {
            return Ok(());
        }
        let mut ids = Vec::new();
        for part in [before, &self.tail[before.len()..]] {
            self.tokenizer.table.encode(part.as_bytes(), &mut ids, control)?;
        }
        self.add(&ids)
    }

    fn add(&mut self, ids: &[u32]) -> Result<()> {
        if self.found.contains(ids) {
            return Ok(());
        }
        let mut completion = with_capacity(ids.len())?;
        completion.extend_from_slice(ids);
        self.found.try_reserve(1).map_err(|_| Error::OutOfMemory(size_of_val(ids)))?;
        self.found.insert(completion);
        Ok(())
    }

    fn sorted(self) -> Result<Vec<Vec<u32>>> {
        let mut completions = with_capacity(self.found.len())?;
        completions.extend(self.found);
        completions.sort_unstable();
        Ok(completions)
    }
}
