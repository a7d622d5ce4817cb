//! Which tokens the merges make of their own bytes.
//!
//! A token is made by one merge of two others, and if these two are made of their bytes it is, too, unless another merge
//! comes between: one that joins the end of the left one with the beginning of the right one while they are being made.
//!
//! Let no merge be of a token that only a later one makes. Then whatever a merge makes possible has a higher rank than
//! it, and the merges of a text happen in the order of their ranks, equal ones from left to right. So the last symbol of
//! the left token is first its last byte, then what the merges of that byte's right side made, and so on, each from the
//! time that is its rank until the rank of the next one; and the first symbol of the right token likewise. A merge of
//! two of these that meet at some time, `x` and `y`, comes between if its rank is less than that of what `x` goes into
//! next, and not greater than that of what `y` goes into: of two equal ones the left one comes first.

use super::merge::{MergeTable, NONE};
use crate::error::Result;
use crate::memory::{filled, reserve, with_capacity};

impl MergeTable {
    /// The ids of the bytes and of the tokens that the merges make of their bytes, in the order in which they are made.
    /// None of the latter if merges are of tokens that later ones make, or several make the same.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub(super) fn ids_of_made(&self) -> Result<Vec<u32>> {
        let pairs = self.pairs_in_order()?.unwrap_or_default();
        let mut is_made = filled(true, 256)?;
        reserve(&mut is_made, pairs.len())?;
        for &(left, right) in &pairs {
            is_made.push(is_made[left as usize] && is_made[right as usize] && self.fit(&pairs, left, right));
        }
        let mut ids = with_capacity(is_made.len())?;
        ids.extend((0..).zip(is_made).filter(|(_, is_made)| *is_made).map(|(symbol, _)| self.id(symbol)));
        Ok(ids)
    }

    /// Whether no merge comes between two symbols that are made of their bytes.
    fn fit(&self, pairs: &[(u32, u32)], mut left: u32, mut right: u32) -> bool {
        // The ranks of what the symbols go into next: into nothing at first, as they are looked at backwards in time.
        let (mut after_left, mut after_right) = (NONE, NONE);
        loop {
            // A symbol is the greater the later it is made; bytes are there from the beginning.
            if left.max(right) < 256 {
                return true;
            }
            if left > right {
                after_left = left - 256;
                left = pairs[after_left as usize].1;
            } else {
                after_right = right - 256;
                right = pairs[after_right as usize].0;
            }
            let rank = self.rank(left, right);
            if rank < after_left && rank <= after_right && rank != NONE {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::Control;
    use crate::encode::merge::MergeTable;
    use crate::encode::merge::testing::table;

    fn made_by_merging(table: &MergeTable, tokens: &[Vec<u8>]) -> Vec<u32> {
        let is_made = |id: u32, token: &[u8]| {
            let mut ids = Vec::new();
            table.encode(token, &mut ids, &Control::new()).unwrap();
            ids == [id]
        };
        (0..).zip(tokens).filter(|(id, token)| is_made(*id, token)).map(|(id, _)| id).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// Merges at random of an alphabet of two, so that nearly all of them come between some others.
        #[test]
        fn made_is_what_merging_makes(choices in prop::collection::vec((0_usize..60, 0_usize..60), 1..30)) {
            let mut symbols: Vec<String> = vec!["a".into(), "b".into()];
            let mut merges: Vec<(String, String)> = Vec::new();
            for (left, right) in choices {
                let (left, right) = (&symbols[left % symbols.len()], &symbols[right % symbols.len()]);
                let product = format!("{left}{right}");
                if product.len() <= 64 && !symbols.contains(&product) {
                    merges.push((left.clone(), right.clone()));
                    symbols.push(product);
                }
            }
            let merges: Vec<(&str, &str)> = merges.iter().map(|(left, right)| (&left[..], &right[..])).collect();
            let table = table(&merges).unwrap();
            let bytes = (0..=255).map(|byte| vec![byte]);
            let products = merges.iter().map(|(left, right)| [left.as_bytes(), right.as_bytes()].concat());
            let tokens: Vec<Vec<u8>> = bytes.chain(products).collect();
            prop_assert_eq!(table.ids_of_made().unwrap(), made_by_merging(&table, &tokens));
        }
    }

    #[test]
    fn a_merge_of_what_comes_later_makes_nothing_known() {
        assert_eq!(table(&[("ab", "c"), ("a", "b")]).unwrap().ids_of_made().unwrap(), (0..256).collect::<Vec<_>>());
    }
}
