//! The byte strings of the tokens by id.

use std::cmp::Ordering;

use crate::error::Result;
use crate::memory::reserve;

/// All tokens end to end in one flat array.
#[derive(Debug)]
pub(crate) struct Tokens {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// The first eight bytes of each token, most significant first, filled up with zeros.
    prefixes: Vec<u64>,
}

impl Tokens {
    /// The 256 bytes.
    pub(crate) fn bytes_only() -> Self {
        let mut tokens = Self { bytes: Vec::new(), ends: Vec::new(), prefixes: Vec::new() };
        for byte in 0..=255 {
            tokens.bytes.push(byte);
            tokens.end();
        }
        tokens
    }

    pub(crate) fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        &self.bytes[self.start(id)..self.ends[id]]
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Merges by their byte strings.
    pub(crate) fn parts(&self, merges: &[(u32, u32)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        merges.iter().map(|&(left, right)| (self.get(left).to_vec(), self.get(right).to_vec())).collect()
    }

    /// The bytes of all tokens together.
    pub(crate) fn num_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the concatenation of two tokens and returns its id.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub(crate) fn push_merged(&mut self, (left, right): (u32, u32)) -> Result<u32> {
        reserve(&mut self.ends, 1)?;
        reserve(&mut self.prefixes, 1)?;
        let length = self.get(left).len() + self.get(right).len();
        reserve(&mut self.bytes, length)?;
        for id in [left, right] {
            let range = self.start(id as usize)..self.ends[id as usize];
            self.bytes.extend_from_within(range);
        }
        self.end();
        Ok(self.len() as u32 - 1)
    }

    /// The lexicographic order of the byte strings.
    #[inline]
    pub(crate) fn compare(&self, first: u32, second: u32) -> Ordering {
        // Different prefixes decide: where one token ends it has zeros, and no byte is less.
        let by_prefix = self.prefixes[first as usize].cmp(&self.prefixes[second as usize]);
        by_prefix.then_with(|| self.get(first).cmp(self.get(second)))
    }

    fn start(&self, id: usize) -> usize {
        if id == 0 { 0 } else { self.ends[id - 1] }
    }

    /// Ends the token that has been appended to `bytes`.
    fn end(&mut self) {
        let start = self.ends.last().copied().unwrap_or(0);
        let mut prefix = [0; 8];
        let length = prefix.len().min(self.bytes.len() - start);
        prefix[..length].copy_from_slice(&self.bytes[start..start + length]);
        self.ends.push(self.bytes.len());
        self.prefixes.push(u64::from_be_bytes(prefix));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tokens_compare_as_their_bytes(pairs in prop::collection::vec((0_u32..100, 0_u32..100), 1..60)) {
            let mut tokens = Tokens::bytes_only();
            for (left, right) in pairs {
                // Few different bytes, zeros among them, and every token made so far.
                let part = |id: u32| if id < 40 { id % 3 } else { tokens.len() as u32 - 1 - id % 7 };
                let (left, right) = (part(left), part(right));
                let expected = [tokens.get(left), tokens.get(right)].concat();
                let id = tokens.push_merged((left, right)).unwrap();
                prop_assert_eq!(tokens.get(id), &expected[..]);
                for other in (0..3).chain(256..tokens.len() as u32) {
                    prop_assert_eq!(tokens.compare(id, other), tokens.get(id).cmp(tokens.get(other)));
                }
            }
        }
    }
}
