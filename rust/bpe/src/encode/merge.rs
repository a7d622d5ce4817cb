//! One pretoken to ids: the merge of the lowest rank first, of equal ones the leftmost, until none applies.

use super::lane::{Lane, MAX_SYMBOLS};
pub(super) use super::pairs::NONE;
use super::pairs::PairRanks;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::memory::reserve;
use crate::merges::Merge;
use crate::vocab::{MAX_VOCAB_SIZE, Vocab, shown};

/// Merges by the pair they apply to.
///
/// Inside, a token is a *symbol*: the 256 bytes are 0..=255, the products of merges follow.
#[derive(Debug)]
pub(crate) struct MergeTable {
    ranks: PairRanks,
    /// The ranks of the merges of two bytes, which every word begins with.
    of_bytes: Vec<u32>,
    /// The symbol that the merge of each rank makes.
    products: Vec<u32>,
    /// Whether that of rank `r` makes the symbol `256 + r`, as is usual.
    makes_one_each: bool,
    /// The id of each symbol.
    ids: Vec<u32>,
}

impl MergeTable {
    /// The order of `merges`, which are of tokens of the vocabulary, is their rank.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if a merge stands twice.
    pub(crate) fn new(vocab: &Vocab, merges: &[Merge]) -> Result<Self> {
        if merges.len() >= MAX_VOCAB_SIZE {
            return Err(Error::invalid(format!("{} merges, expected fewer than {MAX_VOCAB_SIZE}", merges.len())));
        }
        let mut ids: Vec<u32> =
            (0..=255_u8).map(|byte| vocab.id(&[byte]).expect("a vocabulary has every byte")).collect();
        let mut symbols = vec![NONE; vocab.size() as usize];
        for (symbol, &id) in (0..).zip(&ids) {
            symbols[id as usize] = symbol;
        }
        let mut products = Vec::with_capacity(merges.len());
        for merge in merges {
            let symbol = &mut symbols[merge.product as usize];
            if *symbol == NONE {
                *symbol = ids.len() as u32;
                ids.push(merge.product);
            }
            products.push(*symbol);
        }

        let mut table = Self::with_products(products, ids)?;
        for (rank, merge) in (0..).zip(merges) {
            let [left, right] = [merge.left, merge.right].map(|id| symbols[id as usize]);
            // A part that no merge makes never occurs, and neither does this merge.
            if left == NONE || right == NONE {
                continue;
            }
            table.insert(left, right, rank).map_err(|earlier| {
                let [left, right] = [merge.left, merge.right].map(|id| shown(vocab.bytes(id).unwrap_or_default()));
                Error::invalid(format!("merges {earlier} and {rank} are both ({left}, {right}); give each merge once"))
            })?;
        }
        Ok(table)
    }

    /// The merges of symbols that their rank numbers: that of rank `r` makes the symbol `256 + r`. No pair stands twice.
    /// There is no vocabulary: the id of a symbol is the symbol.
    pub(super) fn of_symbols(pairs: &[(u32, u32)]) -> Result<Self> {
        let num_symbols = 256 + pairs.len() as u32;
        let mut table = Self::with_products((256..num_symbols).collect(), (0..num_symbols).collect())?;
        for (rank, &(left, right)) in (0..).zip(pairs) {
            table.insert(left, right, rank).expect("no pair stands twice");
        }
        Ok(table)
    }

    /// The pairs of symbols by rank, if they are such as training makes them: each of older symbols, each making a
    /// symbol of its own.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(super) fn pairs_in_order(&self) -> Result<Option<Vec<(u32, u32)>>> {
        let pairs = self.ranks.pairs()?;
        let is_in_order = (256..)
            .zip(pairs.iter().zip(&self.products))
            .all(|(symbol, (&(left, right), &product))| product == symbol && left < symbol && right < symbol);
        Ok(is_in_order.then_some(pairs))
    }

    fn with_products(products: Vec<u32>, ids: Vec<u32>) -> Result<Self> {
        Ok(Self {
            ranks: PairRanks::new(products.len())?,
            of_bytes: vec![NONE; 1 << 16],
            makes_one_each: (256..).zip(&products).all(|(symbol, product)| symbol == *product),
            products,
            ids,
        })
    }

    fn insert(&mut self, left: u32, right: u32, rank: u32) -> Result<(), u32> {
        if !self.ranks.insert(left, right, rank) {
            return Err(self.rank(left, right));
        }
        if left < 256 && right < 256 {
            self.of_bytes[(left << 8 | right) as usize] = rank;
        }
        Ok(())
    }

    /// The rank of the merge of two symbols, [`NONE`] if there is none.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "to be compiled for the kind of processor that the caller is compiled for")]
    pub(super) fn rank(&self, left: u32, right: u32) -> u32 {
        self.ranks.rank(left, right)
    }

    /// The ranks of all merges.
    #[inline]
    pub(super) fn ranks(&self) -> &PairRanks {
        &self.ranks
    }

    /// As [`rank`](Self::rank), of two bytes.
    #[inline]
    pub(super) fn rank_of_bytes(&self, left: u8, right: u8) -> u32 {
        self.of_bytes[usize::from(left) << 8 | usize::from(right)]
    }

    /// The symbol that the merge of a rank makes.
    #[inline]
    pub(super) fn product(&self, rank: u32) -> u32 {
        if self.makes_one_each { 256 + rank } else { self.products[rank as usize] }
    }

    /// As [`product`](Self::product); for what is no rank, any number.
    #[inline]
    pub(super) fn product_or_any(&self, rank: u32) -> u32 {
        if self.makes_one_each {
            rank.wrapping_add(256)
        } else {
            self.products.get(rank as usize).copied().unwrap_or(0)
        }
    }

    /// The id of a symbol.
    #[inline]
    pub(super) fn id(&self, symbol: u32) -> u32 {
        self.ids[symbol as usize]
    }

    /// Appends the ids of a pretoken.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Interrupted`], and [`Error::InvalidArgument`] for a pretoken of 4 GiB or more.
    pub(crate) fn encode(&self, pretoken: &[u8], out: &mut Vec<u32>, control: &Control) -> Result<()> {
        self.encode_symbols(pretoken.iter().map(|&byte| u32::from(byte)), out, control)
    }

    /// Appends the ids of symbols, which further merges may apply to.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    #[inline]
    pub(super) fn encode_symbols(
        &self,
        symbols: impl ExactSizeIterator<Item = u32>,
        out: &mut Vec<u32>,
        control: &Control,
    ) -> Result<()> {
        match symbols.len() {
            0 => Ok(()),
            1..=16 => self.encode_in_lane::<16>(symbols, out),
            17..=32 => self.encode_in_lane::<32>(symbols, out),
            33..=MAX_SYMBOLS => self.encode_in_lane::<MAX_SYMBOLS>(symbols, out),
            _ => self.encode_long(symbols, out, control),
        }
    }

    fn encode_in_lane<const W: usize>(
        &self,
        symbols: impl ExactSizeIterator<Item = u32>,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        reserve(out, symbols.len())?;
        let mut lane = Lane::<W>::of_symbols(self, symbols);
        while lane.step(self) {}
        out.extend(lane.symbols().map(|symbol| self.id(symbol)));
        Ok(())
    }
}

/// A small table for tests.
#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::merges::Merges;

    /// Over an alphabet of three, so that nearly every pair merges.
    pub(in crate::encode) const MERGES: &[(&str, &str)] = &[
        ("a", "a"),
        ("a", "b"),
        ("aa", "aa"),
        ("b", "c"),
        ("aa", "b"),
        ("ab", "c"),
        ("c", "c"),
        ("aaaa", "aaaa"),
        ("a", "bc"),
        ("cc", "c"),
        ("abc", "abc"),
    ];

    /// With a token for each byte and each product.
    pub(in crate::encode) fn table(merges: &[(&str, &str)]) -> Result<MergeTable> {
        let merges: Vec<(Vec<u8>, Vec<u8>)> =
            merges.iter().map(|(a, b)| (a.as_bytes().into(), b.as_bytes().into())).collect();
        let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        for (left, right) in &merges {
            let product = [&left[..], right].concat();
            if !tokens.contains(&product) {
                tokens.push(product);
            }
        }
        let vocab = Vocab::new((0..).zip(tokens).collect())?;
        MergeTable::new(&vocab, &Merges::from(merges).numbered(&vocab)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::{MERGES, table};
    use super::*;

    fn symbols(pretoken: &[u8]) -> impl ExactSizeIterator<Item = u32> {
        pretoken.iter().map(|&byte| u32::from(byte))
    }

    fn by_definition(table: &MergeTable, pretoken: &[u8]) -> Vec<u32> {
        let mut symbols: Vec<u32> = pretoken.iter().map(|&byte| byte.into()).collect();
        loop {
            let ranks: Vec<u32> = symbols.windows(2).map(|pair| table.rank(pair[0], pair[1])).collect();
            let Some(lowest) = ranks.iter().copied().filter(|&rank| rank != NONE).min() else { break };
            let at = ranks.iter().position(|&rank| rank == lowest).unwrap();
            symbols.splice(at..at + 2, [table.products[lowest as usize]]);
        }
        symbols.iter().map(|&symbol| table.ids[symbol as usize]).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn both_ways_follow_the_definition(pretoken in prop::collection::vec(97_u8..100, 1..=MAX_SYMBOLS)) {
            let table = table(MERGES).unwrap();
            let (mut short, mut long) = (Vec::new(), Vec::new());
            table.encode(&pretoken, &mut short, &Control::new()).unwrap();
            table.encode_long(symbols(&pretoken), &mut long, &Control::new()).unwrap();
            let expected = by_definition(&table, &pretoken);
            prop_assert_eq!(&short, &expected);
            prop_assert_eq!(&long, &expected);
        }

        #[test]
        fn merges_in_any_order_follow_the_definition(
            order in Just(MERGES.to_vec()).prop_shuffle(), pretoken in prop::collection::vec(97_u8..100, 1..30)
        ) {
            let table = table(&order).unwrap();
            let (mut short, mut long) = (Vec::new(), Vec::new());
            table.encode(&pretoken, &mut short, &Control::new()).unwrap();
            table.encode_long(symbols(&pretoken), &mut long, &Control::new()).unwrap();
            let expected = by_definition(&table, &pretoken);
            prop_assert_eq!(&short, &expected);
            prop_assert_eq!(&long, &expected);
        }
    }

    #[test]
    fn a_merge_that_stands_twice_is_refused() {
        let error = table(&[("a", "b"), ("b", "c"), ("a", "b")]).unwrap_err().to_string();
        assert!(error.contains("merges 0 and 2 are both (b\"a\", b\"b\")"), "{error}");
    }
}
