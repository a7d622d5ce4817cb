//! What a cache knows from the beginning: the tokens that a vocabulary learnt first, which are what most texts are made
//! of. It is short texts that profit: new words are few in each, and a few take as long to be merged as many.

use super::cache::{Entry, Key, ShortTable};
use super::lockstep::merge_words;
use super::merge::MergeTable;
use super::near::NearTable;
use crate::error::Result;
use crate::memory::reserve;
use crate::raw::simd::{Instructions, Job, Simd};
use crate::word_key;

/// Half of what the table of frequent pretokens holds, so that most stay until they are asked for.
const MAX_SEEDS: usize = 1 << 13;

/// Entries for pretokens of up to 15 bytes.
#[derive(Debug)]
pub(super) struct Seeds(Vec<Entry<u128, 4>>);

impl Seeds {
    /// Of tokens in the order they were learnt in. Each is merged: whatever comes of it is its entry.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub(super) fn new<'v>(table: &MergeTable, tokens: impl Iterator<Item = &'v [u8]>) -> Result<Self> {
        let keys = tokens.filter_map(|token| word_key::pack(token, &(0..token.len()))).take(MAX_SEEDS);
        let mut entries = Vec::new();
        reserve(&mut entries, MAX_SEEDS)?;
        entries.extend(keys.map(|key| (key, [0; 4])));
        Instructions::best().run(Merge { table, entries: &mut entries });
        entries.retain(|(_, places)| places[ShortTable::INLINE] > 0);
        entries.shrink_to_fit();
        Ok(Self(entries))
    }

    /// Without those pretokens that are something else than what the merges come to.
    pub(super) fn without(mut self, is_other: impl Fn(&[u8]) -> bool) -> Self {
        self.0.retain(|(key, _)| {
            let (bytes, length) = word_key::unpack(*key);
            !is_other(&bytes[..length])
        });
        self
    }

    pub(super) fn sow(&self, near: &mut NearTable) {
        for &(key, places) in &self.0 {
            near.put(key.hash(), (key, places));
        }
    }
}

/// Fills the entries of keys that have at most three ids.
struct Merge<'a> {
    table: &'a MergeTable,
    entries: &'a mut [Entry<u128, 4>],
}

impl Job for Merge<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "to be compiled for the kind of processor that the caller is compiled for")]
    fn run<S: Simd>(self, simd: S) {
        for some in self.entries.chunks_mut(1 << 10) {
            let words: Vec<u128> = some.iter().map(|(key, _)| *key).collect();
            let words = (0..).zip(words.into_iter().map(word_key::unpack));
            merge_words(simd, self.table, words, |index, ids| {
                let (_, places) = &mut some[usize::from(index)];
                if ids.len() <= ShortTable::INLINE {
                    places[..ids.len()].copy_from_slice(ids);
                    places[ShortTable::INLINE] = ids.len() as u32;
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cache::look_up;
    use super::*;
    use crate::Control;
    use crate::encode::merge::testing::{MERGES, table};

    #[test]
    fn what_is_sown_is_what_the_merges_come_to() {
        let table = table(MERGES).unwrap();
        let tokens = ["a", "aaaa", "aab", "abcabc", "cccccccccc", "a token of more bytes than a key has", "zab"];
        let seeds = Seeds::new(&table, tokens.iter().map(|token| token.as_bytes())).unwrap();
        let mut near = NearTable::new();
        seeds.without(|token| token == b"zab").sow(&mut near);
        let found = |token: &str| {
            let key = word_key::pack(token.as_bytes(), &(0..token.len()))?;
            let (places, is_found) = look_up(&near.buckets()[NearTable::index(key.hash())], key);
            is_found.then(|| places[..places[3] as usize].to_vec())
        };
        for token in &tokens[..4] {
            let mut ids = Vec::new();
            table.encode(token.as_bytes(), &mut ids, &Control::new()).unwrap();
            assert_eq!(found(token), Some(ids), "{token}");
        }
        assert_eq!([found(tokens[4]), found(tokens[5]), found("zab")], [None, None, None]);
    }
}
