//! text -> segments -> pretokens -> ids, and back.

mod apart;
mod batch;
mod cache;
mod file;
mod idle;
mod key;
mod lane;
mod levels;
mod lockstep;
mod long;
mod made;
mod merge;
mod near;
mod pairs;
mod pending;
mod pieces;
mod recent;
mod recognised;
mod seeds;
mod shared;
mod side_by_side;
mod stream;
mod table;
mod text;
mod unstable;
mod waiting;
mod windows;

use std::sync::Arc;

use rustc_hash::FxHashMap;

pub(crate) use self::cache::Cache;
use self::cache::SharedTables;
pub use self::cache::{CACHE_BYTES, SHARED_CACHE_BYTES};
pub use self::file::FileStats;
pub(crate) use self::idle::CacheGuard;
use self::idle::IdleCaches;
use self::levels::Levels;
pub(crate) use self::levels::Subwords;
use self::merge::MergeTable;
use self::pieces::Joints;
use self::recent::RecentPretokens;
pub use self::recognised::Recognised;
use self::seeds::Seeds;
pub use self::stream::StreamEncoder;
use self::unstable::ByBytes;
pub use self::unstable::Unfinished;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::merges::{Merge, Merges};
use crate::split::Pattern;
use crate::split::cut::Cutter;
use crate::vocab::Vocab;

/// A vocabulary, its merges, its special tokens and its pattern: text to ids and back.
///
/// Immutable but for caches, which change no result; share it freely among threads.
#[derive(Debug)]
pub struct Tokenizer {
    vocab: Vocab,
    merges: Vec<Merge>,
    table: MergeTable,
    /// For merges across words.
    levels: Option<Levels>,
    /// All special tokens.
    specials: Recognised,
    /// The special tokens that ordinary text cannot come to: neither a byte nor part of a merge. Sorted.
    only_special: Vec<u32>,
    pattern: Pattern,
    ignore_merges: bool,
    /// The tokens that a pretoken is even though the merges come to others; none unless `ignore_merges`.
    never_made: FxHashMap<Vec<u8>, u32>,
    /// The length of the longest of them.
    longest_never_made: usize,
    joints: Joints,
    by_bytes: ByBytes,
    seeds: Seeds,
    shared: Arc<SharedTables>,
    idle: IdleCaches,
    recent: RecentPretokens,
}

impl Tokenizer {
    /// `vocab` maps ids to tokens and must hold each of the 256 bytes; `merges` are in the order of their rank. Special
    /// tokens that are not in the vocabulary are appended to it, in their order.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if these contradict themselves or one another.
    pub fn new(
        vocab: Vec<(u32, Vec<u8>)>,
        merges: impl Into<Merges>,
        special_tokens: &[String],
        pattern: Pattern,
    ) -> Result<Self> {
        let mut vocab = Vocab::new(vocab)?;
        let mut special_ids = Vec::with_capacity(special_tokens.len());
        for token in special_tokens {
            let id = vocab.id(token.as_bytes());
            special_ids.push(id.map_or_else(|| vocab.append(token.as_bytes()), Ok)?);
        }
        let merges = merges.into().numbered(&vocab)?;
        let table = MergeTable::new(&vocab, &merges)?;
        let products = || merges.iter().filter_map(|merge| vocab.bytes(merge.product));
        let levels = Levels::new(&table, products())?;
        let joints = Joints::new(products());
        let (seeds, known) = Seeds::new(&vocab, &table)?;
        let only_special = only_special(&vocab, &special_ids, &merges);
        let specials = Recognised::new(special_tokens, special_ids)?;
        let tokenizer = Self {
            vocab,
            merges,
            table,
            levels,
            specials,
            only_special,
            pattern,
            ignore_merges: false,
            never_made: FxHashMap::default(),
            longest_never_made: 0,
            joints,
            by_bytes: ByBytes::default(),
            seeds,
            shared: Arc::new(SharedTables::new(known)),
            idle: IdleCaches::default(),
            recent: RecentPretokens::default(),
        };
        drop(CacheGuard::new(&tokenizer)); // which leaves one that is ready, so that the first text is not the slowest
        Ok(tokenizer)
    }

    /// With `ignore_merges`, a pretoken that is a token takes its id even if the merges would come to others, as in
    /// tiktoken and in the tokenizers that set this option of Hugging Face's. Special tokens are not meant: they are
    /// recognised as such or are ordinary text.
    #[must_use]
    pub fn with_ignore_merges(self, ignore_merges: bool) -> Self {
        let never_made = if ignore_merges { self.never_made() } else { Vec::new() };
        Self { ignore_merges, ..self.with_never_made(&never_made) }
    }

    /// [`with_ignore_merges`](Self::with_ignore_merges) where it is known which tokens the merges do not make.
    pub(crate) fn with_never_made(mut self, ids: &[u32]) -> Self {
        let tokens = ids.iter().filter(|id| !self.is_only_special(**id));
        self.never_made = tokens.filter_map(|&id| Some((self.vocab.bytes(id)?.to_vec(), id))).collect();
        self.longest_never_made = self.never_made.keys().map(Vec::len).max().unwrap_or(0);
        if self.shared.have_learnt() {
            // Some of it may be something else now.
            (self.shared, self.idle) = (Arc::default(), IdleCaches::default());
        }
        Self { ignore_merges: true, ..self }
    }

    /// The tokens that the merges do not make of their bytes.
    fn never_made(&self) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut is_never_made = |id: u32, token: &[u8]| {
            ids.clear();
            self.table.encode(token, &mut ids, &Control::new()).is_err() || ids != [id]
        };
        self.vocab.iter().filter_map(|(id, token)| is_never_made(id, token).then_some(id)).collect()
    }

    /// The id of a pretoken that is a token whatever the merges come to.
    #[inline]
    fn token_of(&self, pretoken: &[u8]) -> Option<u32> {
        if pretoken.len() > self.longest_never_made { None } else { self.never_made.get(pretoken).copied() }
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
    pub fn merges(&self) -> &[Merge] {
        &self.merges
    }

    /// The bytes of both parts of each merge.
    pub fn spelt_merges(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let token = |id| self.vocab.bytes(id).expect("merges are of tokens");
        self.merges.iter().map(move |merge| (token(merge.left), token(merge.right)))
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
        let ids: FxHashMap<&str, u32> = self.special_tokens().collect();
        let id_of = |token: &String| {
            ids.get(&token[..]).copied().ok_or_else(|| {
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
}

/// Those of `ids` that are neither of a byte nor of a part or a product of a merge, sorted.
fn only_special(vocab: &Vocab, ids: &[u32], merges: &[Merge]) -> Vec<u32> {
    let mut is_ordinary = vec![false; vocab.size() as usize];
    for id in merges.iter().flat_map(|merge| [merge.left, merge.right, merge.product]) {
        is_ordinary[id as usize] = true;
    }
    let is_byte = |id: u32| vocab.bytes(id).is_some_and(|token| token.len() == 1);
    let mut ids: Vec<u32> = ids.iter().copied().filter(|&id| !is_byte(id) && !is_ordinary[id as usize]).collect();
    ids.sort_unstable();
    ids
}
