//! text -> segments -> pretokens -> ids, and back.

mod batch;
mod cache;
mod file;
mod levels;
mod merge;
mod recognised;
mod stream;

use std::ops::Range;
use std::sync::Mutex;

use rustc_hash::{FxHashMap, FxHashSet};

pub use self::cache::CACHE_BYTES;
pub(crate) use self::cache::Cache;
use self::cache::INLINE;
pub use self::file::FileStats;
use self::levels::Levels;
pub(crate) use self::levels::Subwords;
use self::merge::{MergeTable, reserve};
pub use self::recognised::Recognised;
pub use self::stream::StreamEncoder;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::split::cut::Cutter;
use crate::split::{Pattern, Segment};
use crate::vocab::Vocab;
use crate::word_key;

/// A vocabulary, its merges, its special tokens and its pattern: text to ids and back.
///
/// Immutable but for caches, which change no result; share it freely among threads.
#[derive(Debug)]
pub struct Tokenizer {
    vocab: Vocab,
    merges: Vec<(Vec<u8>, Vec<u8>)>,
    table: MergeTable,
    /// For merges across words.
    levels: Option<Levels>,
    /// All special tokens.
    specials: Recognised,
    /// The special tokens that ordinary text cannot come to: neither a byte nor part of a merge. Sorted.
    only_special: Vec<u32>,
    pattern: Pattern,
    ignore_merges: bool,
    idle: IdleCaches,
}

impl Tokenizer {
    /// `vocab` maps ids to tokens and must hold each of the 256 bytes; `merges` are in the order of their rank. Special
    /// tokens that are not in the vocabulary are appended to it, in their order.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if these contradict themselves or one another.
    pub fn new(
        vocab: Vec<(u32, Vec<u8>)>,
        merges: Vec<(Vec<u8>, Vec<u8>)>,
        special_tokens: &[String],
        pattern: Pattern,
    ) -> Result<Self> {
        let mut vocab = Vocab::new(vocab)?;
        let mut special_ids = Vec::with_capacity(special_tokens.len());
        for token in special_tokens {
            let id = vocab.id(token.as_bytes());
            special_ids.push(id.map_or_else(|| vocab.append(token.as_bytes()), Ok)?);
        }
        let table = MergeTable::new(&vocab, &merges)?;
        let levels = Levels::new(&table, &merges);
        let only_special = only_special(special_tokens, &special_ids, &merges);
        let specials = Recognised::new(special_tokens, special_ids)?;
        let idle = IdleCaches::default();
        Ok(Self { vocab, merges, table, levels, specials, only_special, pattern, ignore_merges: false, idle })
    }

    /// With `ignore_merges`, a pretoken that is a token takes its id even if the merges would come to others, as in
    /// tiktoken and in the tokenizers that set this option of Hugging Face's. Special tokens are not meant: they are
    /// recognised as such or are ordinary text.
    #[must_use]
    pub fn with_ignore_merges(self, ignore_merges: bool) -> Self {
        Self { ignore_merges, idle: IdleCaches::default(), ..self }
    }

    /// The greatest id plus one.
    pub fn vocab_size(&self) -> u32 {
        self.vocab.size()
    }

    /// Ids and tokens in the order of the ids.
    pub fn vocab(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.vocab.iter()
    }

    /// The merges in the order of their rank.
    pub fn merges(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.merges
    }

    /// The special tokens and their ids in the order they were given in.
    pub fn special_tokens(&self) -> impl Iterator<Item = (&str, u32)> {
        self.specials.iter()
    }

    /// Whether a pretoken that is a token takes its id without regard to the merges.
    pub fn ignore_merges(&self) -> bool {
        self.ignore_merges
    }

    /// Whether only a special token in the text gives this id: it is one, and neither a byte nor part of a merge.
    pub fn is_only_special(&self, id: u32) -> bool {
        self.only_special.binary_search(&id).is_ok()
    }

    /// Tokens that are written `<|like this|>` and are not special: they hardly ever are meant to be text.
    pub fn undeclared_special_tokens(&self) -> impl Iterator<Item = &[u8]> {
        let tokens = self.vocab.iter().map(|(_, token)| token);
        let looks_special = |token: &&[u8]| token.starts_with(b"<|") && token.ends_with(b"|>") && token.len() > 4;
        tokens
            .filter(looks_special)
            .filter(|token| !self.special_tokens().any(|(special, _)| special.as_bytes() == *token))
    }

    /// All special tokens, for [`encode_with`](Self::encode_with).
    pub fn specials(&self) -> &Recognised {
        &self.specials
    }

    /// Some of the special tokens, for [`encode_with`](Self::encode_with).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if one of `tokens` is not special or is given twice.
    pub fn recognise(&self, tokens: &[String]) -> Result<Recognised> {
        let id_of = |token: &String| {
            self.special_tokens().find_map(|(special, id)| (special == token).then_some(id)).ok_or_else(|| {
                Error::invalid(format!(
                    "{token:?} is not a special token of this tokenizer, which has {:?}",
                    self.specials.tokens().tokens()
                ))
            })
        };
        Recognised::new(tokens, tokens.iter().map(id_of).collect::<Result<_>>()?)
    }

    /// How text is divided into pretokens.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The id of a token.
    pub fn token_to_id(&self, token: &[u8]) -> Option<u32> {
        self.vocab.id(token)
    }

    /// The token of an id.
    pub fn id_to_token(&self, id: u32) -> Option<&[u8]> {
        self.vocab.bytes(id)
    }

    /// The concatenated tokens of `ids`. They need not be UTF-8.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an id that has no token, [`Error::OutOfMemory`].
    pub fn decode_bytes(&self, ids: &[u32]) -> Result<Vec<u8>> {
        let mut length = 0;
        for (position, &id) in ids.iter().enumerate() {
            let token = self.vocab.bytes(id).ok_or_else(|| {
                Error::invalid(format!(
                    "id {id} at position {position} has no token, expected ids of this vocabulary (0 to {}); were \
                     they made by another tokenizer?",
                    self.vocab.size() - 1
                ))
            })?;
            length += token.len();
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| Error::OutOfMemory(length))?;
        for &id in ids {
            bytes.extend_from_slice(self.vocab.bytes(id).expect("looked up a moment ago"));
        }
        Ok(bytes)
    }

    fn cutter<'a>(&'a self, specials: &'a Recognised) -> Cutter<'a> {
        Cutter { pattern: &self.pattern, specials: specials.tokens() }
    }

    /// Appends the ids of a text to `out`; the number of special tokens among them is returned.
    fn encode_into(
        &self,
        text: &str,
        specials: &Recognised,
        cache: &mut Cache,
        out: &mut Vec<u32>,
        control: &Control,
    ) -> Result<u64> {
        let mut num_special = 0;
        specials.tokens().for_each_segment(text, |segment| match segment {
            Segment::Special(index) => {
                num_special += 1;
                reserve(out, 1)?;
                out.push(specials.id(index));
                Ok(())
            }
            Segment::Text(offset, segment) => {
                let mut pending = Pending::new(offset);
                self.pattern.for_each_pretoken(segment, |range| {
                    let range = offset + range.start..offset + range.end;
                    if pending.push(text.as_bytes(), range, cache) {
                        self.encode_pending(text.as_bytes(), &mut pending, cache, out, control)?;
                    }
                    Ok(())
                })?;
                self.encode_pending(text.as_bytes(), &mut pending, cache, out, control)
            }
        })?;
        Ok(num_special)
    }

    fn encode_pending(
        &self,
        text: &[u8],
        pending: &mut Pending,
        cache: &mut Cache,
        out: &mut Vec<u32>,
        control: &Control,
    ) -> Result<()> {
        control.check()?;
        // The ids of the next few pretokens, copied to `out` together: copying all places of an entry and counting
        // those in use takes no branch on how many they are.
        let mut ids = [0; (Pending::CAPACITY + 1) * INLINE];
        let mut length = 0;
        let mut start = pending.start;
        for index in 0..std::mem::take(&mut pending.length) {
            let Pretoken { key, bucket, end } = pending.pretokens[index];
            let range = start..end;
            start = end;
            if let Some(entry) = cache.get(bucket, key)
                && entry.len() <= INLINE
            {
                ids[length..length + INLINE].copy_from_slice(entry.places());
                length += entry.len();
                continue;
            }
            append(out, &ids[..length])?;
            length = 0;
            self.encode_rare(text, range, (key, bucket), cache, out, control)?;
        }
        pending.start = start;
        append(out, &ids[..length])
    }

    /// A pretoken that is not in the cache, has many ids or is too long to be there.
    fn encode_rare(
        &self,
        text: &[u8],
        range: Range<usize>,
        (key, bucket): (u128, usize),
        cache: &mut Cache,
        out: &mut Vec<u32>,
        control: &Control,
    ) -> Result<()> {
        if key == Pending::LONG {
            return match &self.levels {
                Some(levels) if !self.ignore_merges => levels.encode(&self.table, text, range, cache, out, control),
                _ => self.encode_pretoken(&text[range], out, control),
            };
        }
        if let Some(entry) = cache.get(bucket, key) {
            return append(out, cache.ids(&entry));
        }
        let first = out.len();
        self.encode_pretoken(&text[range], out, control)?;
        cache.insert(bucket, key, &out[first..]);
        Ok(())
    }

    /// Appends the ids of one pretoken.
    fn encode_pretoken(&self, pretoken: &[u8], out: &mut Vec<u32>, control: &Control) -> Result<()> {
        if self.ignore_merges
            && let Some(id) = self.vocab.id(pretoken)
            && !self.is_only_special(id)
        {
            return append(out, &[id]);
        }
        self.table.encode(pretoken, out, control)
    }
}

/// The ids of the special tokens that are neither a byte nor part of a merge, sorted.
fn only_special(tokens: &[String], ids: &[u32], merges: &[(Vec<u8>, Vec<u8>)]) -> Vec<u32> {
    let mut only_special: FxHashMap<&[u8], u32> =
        tokens.iter().map(String::as_bytes).zip(ids.iter().copied()).filter(|(token, _)| token.len() > 1).collect();
    // Most parts of merges are of another length than any special token: those need no second look.
    let lengths: FxHashSet<usize> = only_special.keys().map(|token| token.len()).collect();
    for (left, right) in merges {
        for part in [left, right] {
            if lengths.contains(&part.len()) {
                only_special.remove(&part[..]);
            }
        }
        if lengths.contains(&(left.len() + right.len())) {
            only_special.remove(&[&left[..], &right[..]].concat()[..]);
        }
    }
    let mut ids: Vec<u32> = only_special.into_values().collect();
    ids.sort_unstable();
    ids
}

fn append(out: &mut Vec<u32>, ids: &[u32]) -> Result<()> {
    reserve(out, ids.len())?;
    out.extend_from_slice(ids);
    Ok(())
}

/// The next few pretokens. While they are scanned, the memory that the first of them will be looked up in is on its
/// way: the cache is larger than the processor's own, and waiting for each line in turn took half of all time.
struct Pending {
    /// Where the first of them starts.
    start: usize,
    pretokens: [Pretoken; Self::CAPACITY],
    length: usize,
}

#[derive(Clone, Copy, Default)]
struct Pretoken {
    key: u128,
    bucket: usize,
    end: usize,
}

impl Pending {
    const CAPACITY: usize = 64;
    /// Stands for the key of a pretoken that is too long to have one; no key and no free entry is equal to it.
    const LONG: u128 = u128::MAX;

    fn new(start: usize) -> Self {
        Self { start, pretokens: [Pretoken::default(); Self::CAPACITY], length: 0 }
    }

    /// Returns whether it is full now.
    #[inline]
    fn push(&mut self, text: &[u8], range: Range<usize>, cache: &Cache) -> bool {
        let key = word_key::pack(text, &range).unwrap_or(Self::LONG);
        self.pretokens[self.length] = Pretoken { key, bucket: cache.bucket_of(key), end: range.end };
        self.length += 1;
        self.length == Self::CAPACITY
    }
}

/// Caches that no thread uses at the moment, at most as many as there are places.
#[derive(Debug)]
struct IdleCaches([Mutex<Option<Cache>>; 64]);

impl Default for IdleCaches {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(None)))
    }
}

/// A cache of the tokenizer, warm if one is at hand, for one thread at a time.
struct CacheGuard<'t> {
    idle: &'t IdleCaches,
    cache: Option<Cache>,
}

impl<'t> CacheGuard<'t> {
    fn new(tokenizer: &'t Tokenizer) -> Self {
        // `try_lock`: in a forked child a lock may be held by a thread that does not exist there.
        let idle = &tokenizer.idle;
        let warm = idle.0.iter().find_map(|place| place.try_lock().ok()?.take());
        Self { idle, cache: Some(warm.unwrap_or_else(Cache::new)) }
    }

    fn cache(&mut self) -> &mut Cache {
        self.cache.as_mut().expect("present until dropped")
    }
}

impl Drop for CacheGuard<'_> {
    fn drop(&mut self) {
        for place in &self.idle.0 {
            if let Ok(mut place) = place.try_lock()
                && place.is_none()
            {
                *place = self.cache.take();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{TrainOptions, Trainer};

    const PIECES: &[&str] = &[
        "the", " the", "low", "er", "'", "'s", " ", "\n", "\u{3000}", "日本", "é", "1", "!", "<|", "<|end|>", "end|>",
        "🙂",
    ];

    fn tokenizer(pattern: &str) -> Tokenizer {
        let special_tokens = vec!["<|end|>".to_owned(), "<|end|><|end|>".to_owned()];
        let pattern = Pattern::parse(pattern).unwrap();
        let mut trainer = Trainer::new(TrainOptions {
            vocab_size: 300,
            special_tokens: special_tokens.clone(),
            pattern: pattern.clone(),
            ..TrainOptions::default()
        })
        .unwrap();
        trainer
            .count_texts(&["the lower the 日本 lower 🙂 low's low's\n\n11!! éé".repeat(3)], 1, &Control::new())
            .unwrap();
        let trained = trainer.finish(&Control::new()).unwrap();
        Tokenizer::new(trained.vocab, trained.merges, &special_tokens, pattern).unwrap()
    }

    /// Without cache, cuts or threads.
    fn by_definition(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let specials = tokenizer.specials();
        specials
            .tokens()
            .for_each_segment(text, |segment| match segment {
                Segment::Special(index) => {
                    ids.push(specials.id(index));
                    Ok(())
                }
                Segment::Text(_, text) => tokenizer.pattern.for_each_pretoken(text, |range| {
                    tokenizer.table.encode(&text.as_bytes()[range], &mut ids, &Control::new())
                }),
            })
            .unwrap();
        ids
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn a_text_in_pieces_is_the_text(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60), named in any::<bool>()
        ) {
            let tokenizer = tokenizer(if named { "gpt2" } else { r"\w+| \w+|\s" });
            let text = pieces.concat();
            let expected = by_definition(&tokenizer, &text);
            prop_assert_eq!(&tokenizer.encode(&text, 2, &Control::new()).unwrap(), &expected);

            let (mut stream, mut ids) = (StreamEncoder::new(), Vec::new());
            for piece in &pieces {
                stream.push(&tokenizer, piece, &mut ids).unwrap();
            }
            stream.finish(&tokenizer, &mut ids).unwrap();
            prop_assert_eq!(&ids, &expected);
            prop_assert_eq!(tokenizer.decode_bytes(&ids).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn threads_and_batches_do_not_change_the_ids() {
        let tokenizer = tokenizer("gpt2");
        let text = PIECES.concat().repeat(30_000);
        let texts = [&text[..], "", "the", &text[..PIECES.concat().len() * 20_000]];
        let expected = texts.map(|text| by_definition(&tokenizer, text));
        for num_threads in [1, 2, 3] {
            let control = Control::new();
            assert!(tokenizer.encode(&text, num_threads, &control).unwrap() == expected[0]);
            assert!(tokenizer.encode_batch(&texts, tokenizer.specials(), num_threads, &control).unwrap() == expected);
            assert_eq!(control.progress().done, texts.iter().map(|text| text.len() as u64).sum::<u64>());
        }
    }

    #[test]
    fn an_id_without_a_token_is_named() {
        let error = tokenizer("gpt2").decode_bytes(&[1, 2, 5000]).unwrap_err().to_string();
        assert!(error.contains("id 5000 at position 2"), "{error}");
    }
}
