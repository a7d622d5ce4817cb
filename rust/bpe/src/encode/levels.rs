//! Merges across words in two levels: those within words first, each word by itself, and then those of the words.
//!
//! A vocabulary of SuperBPE has pretokens as long as paragraphs. The merge of the lowest rank comes first, so nothing
//! else happens until no merge of the first stage applies any more. And what these make of two neighbouring words does
//! not depend on one another where no such merge joins the last byte of the one and the first of the other. So a
//! pretoken falls into the words that it was made of, which come from the cache; of those, again, only a few stand
//! beside one another so that a merge of the second stage could join them.

use std::ops::Range;

use rustc_hash::FxHashSet;

use super::cache::Cache;
use super::key::Key;
use super::merge::MergeTable;
use crate::control::Control;
use crate::error::Result;
use crate::memory::reserve;
use crate::word_key;

/// Bytes or symbols between two looks at the control: a pretoken may be as long as the text.
const CHECKED: usize = 1 << 16;

/// Marks the cache's keys for words: their entries hold symbols rather than ids.
const WORD: u128 = 1 << 127;

/// The merges of the first stage, on text that is not divided into words.
#[derive(Debug)]
pub(crate) struct Subwords {
    table: MergeTable,
    /// A bit for each pair of bytes: whether some token of more than one byte has them side by side.
    joined: Vec<u64>,
}

impl Subwords {
    /// Each merge is of older symbols, and that of rank `r` makes the symbol `256 + r`.
    pub(crate) fn new(merges: &[(u32, u32)]) -> Result<Self> {
        let mut joined = vec![0; (1 << 16) / 64];
        let edges = edges_of(256, merges, |(last, first)| {
            let bit = last << 8 | first;
            joined[bit as usize / 64] |= 1 << (bit % 64);
        });
        debug_assert_eq!(edges.len(), 256 + merges.len());
        Ok(Self { table: MergeTable::of_symbols(merges)?, joined })
    }

    fn may_join(&self, last: u8, first: u8) -> bool {
        let bit = usize::from(last) << 8 | usize::from(first);
        self.joined[bit / 64] >> (bit % 64) & 1 != 0
    }

    /// Appends the symbols of `text[range]`.
    ///
    /// # Errors
    /// As those of [`MergeTable::encode`].
    pub(crate) fn encode(
        &self,
        text: &[u8],
        range: Range<usize>,
        cache: &mut Cache,
        symbols: &mut Vec<u32>,
        control: &Control,
    ) -> Result<()> {
        let mut start = range.start;
        for at in range.start + 1..range.end {
            if at.is_multiple_of(CHECKED) {
                control.check()?;
            }
            if !self.may_join(text[at - 1], text[at]) {
                self.encode_word(text, start..at, cache, symbols, control)?;
                start = at;
            }
        }
        self.encode_word(text, start..range.end, cache, symbols, control)
    }

    fn encode_word(
        &self,
        text: &[u8],
        range: Range<usize>,
        cache: &mut Cache,
        symbols: &mut Vec<u32>,
        control: &Control,
    ) -> Result<()> {
        if let [byte] = text[range.clone()] {
            reserve(symbols, 1)?;
            symbols.push(u32::from(byte));
            return Ok(());
        }
        let Some(key) = word_key::pack(text, &range) else { return self.table.encode(&text[range], symbols, control) };
        let key = key | WORD;
        let hash = key.hash();
        if let Some(places) = cache.short.find(hash, key) {
            return cache.short.append_ids(&places, symbols);
        }
        let first = symbols.len();
        self.table.encode(&text[range], symbols, control)?;
        cache.short.learn(hash, key, &symbols[first..]);
        cache.make_room();
        Ok(())
    }
}

/// The merges of both stages.
#[derive(Debug)]
pub(super) struct Levels {
    subwords: Subwords,
    /// The pairs of symbols of the first stage that some token of the second has side by side.
    joined: FxHashSet<(u32, u32)>,
}

impl Levels {
    /// `None` if there are no merges across words, or merges that no training makes: these are not in two levels.
    ///
    /// `products` are the tokens that the merges make, in the order of their rank.
    pub(super) fn new<'v>(table: &MergeTable, mut products: impl Iterator<Item = &'v [u8]>) -> Result<Option<Self>> {
        // Where the second stage begins matters for the time alone: any first part of the merges is exhausted before
        // one of the others applies.
        let is_across =
            |product: &[u8]| product.windows(2).any(|pair| pair[0].is_ascii_alphanumeric() && pair[1] == b' ');
        let Some(num_subwords) = products.position(is_across) else { return Ok(None) };
        let Some(pairs) = table.pairs_in_order()? else { return Ok(None) };
        let (first, second) = pairs.split_at(num_subwords);
        let mut joined = FxHashSet::default();
        edges_of(256 + num_subwords as u32, second, |pair| {
            joined.insert(pair);
        });
        Ok(Some(Self { subwords: Subwords::new(first)?, joined }))
    }

    /// Appends the ids of `text[range]`.
    ///
    /// # Errors
    /// As those of [`MergeTable::encode`].
    pub(super) fn encode(
        &self,
        table: &MergeTable,
        text: &[u8],
        range: Range<usize>,
        cache: &mut Cache,
        out: &mut Vec<u32>,
        control: &Control,
    ) -> Result<()> {
        let mut symbols = Vec::new();
        self.subwords.encode(text, range, cache, &mut symbols, control)?;
        let mut start = 0;
        for at in 1..=symbols.len() {
            if at.is_multiple_of(CHECKED) {
                control.check()?;
            }
            if at == symbols.len() || !self.joined.contains(&(symbols[at - 1], symbols[at])) {
                table.encode_symbols(symbols[start..at].iter().copied(), out, control)?;
                start = at;
            }
        }
        Ok(())
    }
}

/// The first and the last of the `num_basic` symbols that every symbol is made of, where `merges` make those above
/// them one after the other. `visit` is called with the basic symbols on the two sides of each merge.
fn edges_of(num_basic: u32, merges: &[(u32, u32)], mut visit: impl FnMut((u32, u32))) -> Vec<(u32, u32)> {
    let mut edges: Vec<(u32, u32)> = (0..num_basic).map(|symbol| (symbol, symbol)).collect();
    for &(left, right) in merges {
        let (left, right) = (edges[left as usize], edges[right as usize]);
        visit((left.1, right.0));
        edges.push((left.0, right.1));
    }
    edges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::merge::testing::table;
    use super::*;
    use crate::merges::Merges;
    use crate::vocab::Vocab;

    /// Merges of older symbols at random, without two that make the same bytes.
    fn merges_of(choices: &[(usize, usize)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut tokens: Vec<Vec<u8>> = b"ab ".iter().map(|&byte| vec![byte]).collect();
        let mut merges = Vec::new();
        for &(left, right) in choices {
            let pair = (tokens[left % tokens.len()].clone(), tokens[right % tokens.len()].clone());
            let product = [&pair.0[..], &pair.1[..]].concat();
            if !tokens.contains(&product) {
                tokens.push(product);
                merges.push(pair);
            }
        }
        merges
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn two_levels_give_the_ids_of_one(
            choices in prop::collection::vec((0_usize..100, 0_usize..100), 1..25), text in "[ab ]{1,90}",
        ) {
            let merges = merges_of(&choices);
            let products: Vec<Vec<u8>> = merges.iter().map(|(left, right)| [&left[..], right].concat()).collect();
            let bytes = (0..=255).map(|byte| vec![byte]);
            let vocab = Vocab::new((0..).zip(bytes.chain(products.clone())).collect()).unwrap();
            let table = MergeTable::new(&vocab, &Merges::from(merges).numbered(&vocab).unwrap()).unwrap();
            let Some(levels) = Levels::new(&table, products.iter().map(|token| &token[..])).unwrap() else {
                return Ok(());
            };
            let (mut expected, mut cache) = (Vec::new(), Cache::new());
            table.encode(text.as_bytes(), &mut expected, &Control::new()).unwrap();
            for _ in 0..2 {
                let mut found = Vec::new();
                levels.encode(&table, text.as_bytes(), 0..text.len(), &mut cache, &mut found, &Control::new()).unwrap();
                prop_assert_eq!(&found, &expected);
            }
        }
    }

    #[test]
    fn merges_within_words_have_one_level() {
        let table = table(&[("a", "b"), (" ", "ab"), (" ", " ")]).unwrap();
        assert!(Levels::new(&table, [&b"ab"[..], b" ab", b"  "].into_iter()).unwrap().is_none());
    }
}
