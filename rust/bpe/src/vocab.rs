//! Ids and the byte strings they stand for.

use std::fmt::Write as _;
use std::hash::BuildHasher as _;

use rustc_hash::FxBuildHasher;

use crate::error::{Error, Result};

/// The greatest number of ids, also the first id that is out of range. Three numbers below it fit into 64 bits, on
/// which the table of merges relies; the largest published vocabularies hold about a tenth of it.
pub const MAX_VOCAB_SIZE: usize = 1 << 21;

/// A two-way map between ids and byte strings. Ids may have gaps.
#[derive(Clone, Debug)]
pub(crate) struct Vocab {
    /// The strings in the order of their ids, end to end.
    bytes: Vec<u8>,
    /// Where the string of each id begins and ends in `bytes`; an empty range where there is none.
    ranges: Vec<(u32, u32)>,
    ids: Ids,
}

/// From strings to ids. A power of two of slots, at most half of them in use: the upper half of one is that of the hash,
/// the lower is the id plus one, or 0. The strings are the vocabulary's, so that there is none to allocate for each.
#[derive(Clone, Debug, Default)]
struct Ids {
    slots: Vec<u64>,
    length: usize,
}

impl Vocab {
    /// # Errors
    /// [`Error::InvalidArgument`] if an id is out of range or given twice, a string is empty or stands under two ids,
    /// or one of the 256 bytes is missing.
    pub(crate) fn new(mut tokens: Vec<(u32, Vec<u8>)>) -> Result<Self> {
        tokens.sort_by_key(|(id, _)| *id);
        let mut vocab = Self { bytes: Vec::new(), ranges: Vec::new(), ids: Ids::default() };
        vocab.bytes.reserve(tokens.iter().map(|(_, bytes)| bytes.len()).sum());
        vocab.grow(tokens.len());
        for (id, bytes) in tokens {
            vocab.insert(id, &bytes)?;
        }
        match (0..=255_u8).find(|byte| vocab.id(&[*byte]).is_none()) {
            Some(missing) => Err(Error::invalid(format!(
                "the vocabulary lacks the byte 0x{missing:02X}; expected a token for each of the 256 bytes, so that \
                 every text can be encoded"
            ))),
            None => Ok(vocab),
        }
    }

    /// Adds a token whose id is greater than all before.
    fn insert(&mut self, id: u32, bytes: &[u8]) -> Result<()> {
        let index = id as usize;
        if index >= MAX_VOCAB_SIZE {
            return Err(Error::invalid(format!(
                "token id {id} is out of range, expected at most {}",
                MAX_VOCAB_SIZE - 1
            )));
        }
        if index < self.ranges.len() {
            return Err(Error::invalid(format!("token id {id} is given twice; give each id one token")));
        }
        if bytes.is_empty() {
            return Err(Error::invalid(format!("the token of id {id} is empty, expected at least one byte")));
        }
        if let Some(other) = self.id(bytes) {
            return Err(Error::invalid(format!(
                "ids {other} and {id} are both the token {}; give each token one id",
                shown(bytes)
            )));
        }
        let too_large = |_| Error::invalid("the tokens hold more than 4 GiB together; leave the longest out");
        let start = u32::try_from(self.bytes.len()).map_err(too_large)?;
        u32::try_from(self.bytes.len() + bytes.len()).map_err(too_large)?;
        self.bytes.extend_from_slice(bytes);
        self.ranges.resize(index, (start, start));
        self.ranges.push((start, self.bytes.len() as u32));
        if self.ids.length * 2 >= self.ids.slots.len() {
            self.grow(self.ids.length + 1);
        } else {
            self.remember(id, hash(bytes));
        }
        Ok(())
    }

    /// Makes room for so many strings.
    fn grow(&mut self, length: usize) {
        self.ids = Ids { slots: vec![0; (2 * length + 2).next_power_of_two()], length: 0 };
        for id in 0..self.size() {
            if let Some(bytes) = self.bytes(id) {
                self.remember(id, hash(bytes));
            }
        }
    }

    fn remember(&mut self, id: u32, hash: u64) {
        let Ids { slots, length } = &mut self.ids;
        let mask = slots.len() - 1;
        let mut at = hash as usize & mask;
        while slots[at] != 0 {
            at = (at + 1) & mask;
        }
        slots[at] = hash >> 32 << 32 | u64::from(id + 1);
        *length += 1;
    }

    /// Appends a token under the first id above all others and returns it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the vocabulary is full.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<u32> {
        let id = self.ranges.len() as u32;
        self.insert(id, bytes)?;
        Ok(id)
    }

    /// The greatest id plus one.
    pub(crate) fn size(&self) -> u32 {
        self.ranges.len() as u32
    }

    pub(crate) fn id(&self, bytes: &[u8]) -> Option<u32> {
        let hash = hash(bytes);
        let mask = self.ids.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.ids.slots[at];
            let id = (slot as u32).checked_sub(1)?;
            if slot >> 32 == hash >> 32 && self.bytes(id) == Some(bytes) {
                return Some(id);
            }
            at = (at + 1) & mask;
        }
    }

    pub(crate) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let &(start, end) = self.ranges.get(id as usize)?;
        (start < end).then(|| &self.bytes[start as usize..end as usize])
    }

    /// In the order of the ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (0..self.size()).filter_map(|id| Some((id, self.bytes(id)?)))
    }
}

fn hash(bytes: &[u8]) -> u64 {
    FxBuildHasher.hash_one(bytes)
}

/// Bytes as Python would print them, for error messages.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text = String::from("b\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => write!(text, "\\{}", *byte as char),
            b' '..=b'~' => write!(text, "{}", *byte as char),
            _ => write!(text, "\\x{byte:02x}"),
        }
        .expect("writing to a string");
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_bytes() -> Vec<(u32, Vec<u8>)> {
        (0..=255).map(|byte| (u32::from(byte), vec![byte])).collect()
    }

    fn error(extra: &[(u32, &str)]) -> String {
        let extra = extra.iter().map(|(id, token)| (*id, token.as_bytes().to_vec()));
        Vocab::new(all_bytes().into_iter().chain(extra).collect()).unwrap_err().to_string()
    }

    #[test]
    fn gaps_are_kept_and_filled_by_nothing() {
        let mut tokens = all_bytes();
        tokens.insert(0, (300, b"xyz".to_vec()));
        let mut vocab = Vocab::new(tokens).unwrap();
        assert_eq!((vocab.size(), vocab.bytes(299), vocab.bytes(300)), (301, None, Some(&b"xyz"[..])));
        assert_eq!((vocab.append(b"<e>").unwrap(), vocab.id(b"<e>"), vocab.iter().count()), (301, Some(301), 258));
    }

    #[test]
    fn every_token_is_found_however_many_are_appended() {
        let mut vocab = Vocab::new(all_bytes()).unwrap();
        for number in 0..10_000 {
            assert_eq!(vocab.id(format!("<{number}>").as_bytes()), None);
            vocab.append(format!("<{number}>").as_bytes()).unwrap();
        }
        for (id, bytes) in vocab.iter() {
            assert_eq!(vocab.id(bytes), Some(id));
        }
        assert_eq!((vocab.size(), vocab.id(b""), vocab.id(b"<10000>")), (10_256, None, None));
    }

    #[test]
    fn contradictions_are_named() {
        assert!(error(&[(7, "xyz")]).contains("id 7 is given twice"));
        assert!(error(&[(300, "a")]).contains("ids 97 and 300 are both the token b\"a\""));
        assert!(error(&[(300, "")]).contains("id 300 is empty"));
        assert!(error(&[(u32::MAX, "xyz")]).contains("4294967295 is out of range"));
        let missing = Vocab::new(all_bytes().split_off(1)).unwrap_err().to_string();
        assert!(missing.contains("0x00"), "{missing}");
    }
}
