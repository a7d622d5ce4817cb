//! Merges, as files spell them and as a vocabulary numbers them.

use crate::error::{Error, Result};
use crate::vocab::{Vocab, shown};

/// Merges in the order of their rank.
#[derive(Clone, Debug)]
pub enum Merges {
    /// The bytes of both parts.
    Spelt(Vec<(Vec<u8>, Vec<u8>)>),
    /// By ids, where reading has come upon them: to look up the bytes of three tokens a merge takes as long as all else
    /// in making a tokenizer.
    Numbered(Vec<Merge>),
}

/// The ids of two tokens and of the one that they become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// The id of the first part.
    pub left: u32,
    /// The id of the second part.
    pub right: u32,
    /// The id of both together.
    pub product: u32,
}

impl Merges {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Spelt(merges) => merges.len(),
            Self::Numbered(merges) => merges.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The merges by the ids of a vocabulary.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if a part or the product of one is not in the vocabulary, or is another token there.
    pub(crate) fn numbered(self, vocab: &Vocab) -> Result<Vec<Merge>> {
        match self {
            Self::Spelt(merges) => {
                merges.iter().enumerate().map(|(rank, (left, right))| find(vocab, rank, left, right)).collect()
            }
            Self::Numbered(merges) => match merges.iter().position(|merge| !is_made_of_its_parts(vocab, *merge)) {
                Some(rank) => Err(Error::invalid(format!(
                    "merge {rank} is {:?}, which are not two tokens of the vocabulary and the one that they become",
                    merges[rank]
                ))),
                None => Ok(merges),
            },
        }
    }
}

impl Default for Merges {
    fn default() -> Self {
        Self::Numbered(Vec::new())
    }
}

impl From<Vec<(Vec<u8>, Vec<u8>)>> for Merges {
    fn from(merges: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        Self::Spelt(merges)
    }
}

fn find(vocab: &Vocab, rank: usize, left: &[u8], right: &[u8]) -> Result<Merge> {
    let id_of = |bytes: &[u8], role| {
        vocab.id(bytes).ok_or_else(|| {
            Error::invalid(format!(
                "merge {rank} is ({}, {}), {role} {} is not in the vocabulary; the merges and the vocabulary must \
                 belong together",
                shown(left),
                shown(right),
                shown(bytes)
            ))
        })
    };
    Ok(Merge {
        product: id_of(&[left, right].concat(), "whose product")?,
        left: id_of(left, "whose part")?,
        right: id_of(right, "whose part")?,
    })
}

fn is_made_of_its_parts(vocab: &Vocab, Merge { left, right, product }: Merge) -> bool {
    match [left, right, product].map(|id| vocab.bytes(id)) {
        [Some(left), Some(right), Some(product)] => {
            product.strip_prefix(left).is_some_and(|remainder| remainder == right)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocab() -> Vocab {
        let bytes = (0..=255).map(|byte| vec![byte]);
        Vocab::new((0..).zip(bytes.chain([b"ab".to_vec(), b"abc".to_vec()])).collect()).unwrap()
    }

    fn spelt(left: &[u8], right: &[u8]) -> Merges {
        vec![(left.to_vec(), right.to_vec())].into()
    }

    #[test]
    fn spelt_merges_become_those_of_ids() {
        let merge = Merge { left: 256, right: u32::from(b'c'), product: 257 };
        assert_eq!(spelt(b"ab", b"c").numbered(&vocab()).unwrap(), [merge]);
        assert_eq!(Merges::Numbered(vec![merge]).numbered(&vocab()).unwrap(), [merge]);
    }

    #[test]
    fn parts_and_products_must_be_tokens() {
        for (left, right, missing) in [
            (&b"a"[..], &b"d"[..], "whose product b\"ad\" is not in"),
            (b"a", b"bc", "whose part b\"bc\" is not in"),
            (b"", b"ab", "whose part b\"\" is not in"),
        ] {
            let error = spelt(left, right).numbered(&vocab()).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn ids_must_be_those_of_two_tokens_and_of_both_together() {
        let good = Merge { left: 97, right: 98, product: 256 };
        for (left, right, product) in [(97, 98, 257), (98, 97, 256), (97, 98, 258), (u32::MAX, 98, 256)] {
            let merges = Merges::Numbered(vec![good, Merge { left, right, product }]);
            let error = merges.numbered(&vocab()).unwrap_err().to_string();
            assert!(error.contains("merge 1 is Merge { left"), "{error}");
        }
    }
}
