//! What is known from the beginning: the short tokens that the merges make of their bytes. A pretoken that is one of them
//! need not be merged.
//!
//! In English they are all but 6 of 100 pretokens, and a quarter of those that are met for the first time. It is short
//! texts that profit most: new words are few in each, and a few take as long to be merged as many.

use super::key::Key;
use super::merge::MergeTable;
use super::near::{Entry, NearTable};
use super::table::Table;
use crate::error::Result;
use crate::memory::push;
use crate::vocab::Vocab;
use crate::word_key;

/// Those that are known to all threads: as many may be learnt before their table is made anew.
const MAX_SEEDS: usize = 1 << 17;
/// Half of what the table of frequent pretokens holds, so that most stay until they are asked for.
const MAX_FREQUENT: usize = 1 << 13;

/// The tokens that a vocabulary learnt first, which are what most texts are made of.
#[derive(Debug)]
pub(super) struct Seeds(Vec<Entry>);

impl Seeds {
    /// And the table of all threads.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub(super) fn new(vocab: &Vocab, merges: &MergeTable) -> Result<(Self, Table<u128, 4>)> {
        let mut seeds = Vec::new();
        for id in merges.ids_of_made()? {
            if let Some(token) = vocab.bytes(id)
                && let Some(key) = word_key::pack(token, &(0..token.len()))
            {
                push(&mut seeds, (key, [id, 0, 0, 1]))?;
            }
        }
        seeds.truncate(MAX_SEEDS);
        let mut table = Table::with_room(seeds.len());
        for &(key, [id, ..]) in &seeds {
            table.prepare(key.hash(), key, &[id]);
        }
        seeds.truncate(MAX_FREQUENT);
        seeds.shrink_to_fit();
        Ok((Self(seeds), table))
    }

    pub(super) fn sow(&self, near: &mut NearTable) {
        for &(key, places) in &self.0 {
            near.put(key.hash(), (key, places));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::merge::testing::table;
    use super::super::near::look_up;
    use super::*;

    #[test]
    fn the_tokens_that_merges_make_are_known() {
        let merges = [("a", "b"), ("b", "d"), ("c", "c"), ("ab", "c"), ("cc", "cc"), ("a", "bd")];
        let bytes = (0..=255).map(|byte| vec![byte]);
        let products = merges.iter().map(|(left, right)| [left.as_bytes(), right.as_bytes()].concat());
        let more = [b"zab".to_vec()];
        let vocab = Vocab::new((0..).zip(bytes.chain(products).chain(more)).collect()).unwrap();
        let (seeds, known) = Seeds::new(&vocab, &table(&merges).unwrap()).unwrap();
        let mut near = NearTable::new();
        seeds.sow(&mut near);
        let found = |name: &str| {
            let key = word_key::pack(name.as_bytes(), &(0..name.len())).unwrap();
            let (places, is_found) = look_up(&near.buckets()[NearTable::index(key.hash())], key);
            assert_eq!(known.find(key.hash(), key), is_found.then_some(places));
            is_found.then_some(places[0])
        };
        for name in ["a", "ab", "bd", "abc", "cccc"] {
            assert_eq!(found(name), vocab.id(name.as_bytes()), "{name}");
        }
        for name in ["abd", "zab", "zz"] {
            assert_eq!(found(name), None, "{name}"); // the first comes to ab and d
        }
    }
}
