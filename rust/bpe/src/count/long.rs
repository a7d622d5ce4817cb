//! The counts of pretokens that are too long for a packed key.

use std::hash::BuildHasher;

use rustc_hash::FxBuildHasher;

use crate::error::Result;

/// Open addressing over numbers of entries, the entries in the order of their first appearance, their bytes end to
/// end: three arrays, however many pretokens there are.
#[derive(Debug, Default)]
pub(crate) struct LongCounts {
    /// A power of two of slots, at most half of them in use. The upper half of one is that of the hash, which spares
    /// a look at the entry for nearly every other pretoken; the lower is the number of the entry plus one, or 0.
    slots: Vec<u64>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    start: usize,
    length: usize,
    count: u64,
}

impl LongCounts {
    pub(crate) fn add(&mut self, pretoken: &[u8], weight: u64) {
        self.add_hashed(pretoken, hash(pretoken), weight);
    }

    fn add_hashed(&mut self, pretoken: &[u8], hash: u64, weight: u64) {
        if self.entries.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let at = self.slot_of(hash, |entry| self.bytes_of(entry) == pretoken);
        if self.slots[at] == 0 {
            self.entries.push(Entry { hash, start: self.bytes.len(), length: pretoken.len(), count: weight });
            self.bytes.extend_from_slice(pretoken);
            let number = u32::try_from(self.entries.len()).expect("four billion long pretokens fill the memory");
            self.slots[at] = hash >> 32 << 32 | u64::from(number);
        } else {
            self.entries[number(self.slots[at])].count += weight;
        }
    }

    fn bytes_of(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.start..entry.start + entry.length]
    }

    /// The slot of the entry with this hash that is the one, or else the free slot where it belongs.
    fn slot_of(&self, hash: u64, is_it: impl Fn(&Entry) -> bool) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != 0 {
            if self.slots[at] >> 32 == hash >> 32 && is_it(&self.entries[number(self.slots[at])]) {
                break;
            }
            at = (at + 1) & mask;
        }
        at
    }

    #[cold]
    fn grow(&mut self) {
        self.slots = vec![0; (self.slots.len() * 2).max(1 << 8)];
        for index in 0..self.entries.len() {
            let hash = self.entries[index].hash;
            let at = self.slot_of(hash, |_| false);
            self.slots[at] = hash >> 32 << 32 | (index as u64 + 1);
        }
    }

    /// Adds the counts of `other` whose hashes are wanted.
    pub(crate) fn add_all(&mut self, other: &Self, is_wanted: impl Fn(u64) -> bool) {
        for entry in &other.entries {
            if is_wanted(entry.hash) {
                self.add_hashed(other.bytes_of(entry), entry.hash, entry.count);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Calls `visit` with every pretoken and its count, in no particular order.
    ///
    /// # Errors
    /// Those of `visit`.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        self.entries.iter().try_for_each(|entry| visit(self.bytes_of(entry), entry.count))
    }
}

/// The index of the entry that a slot in use stands for.
fn number(slot: u64) -> usize {
    (slot as u32 - 1) as usize
}

/// The hash of the bytes, with both ends of it well mixed.
fn hash(bytes: &[u8]) -> u64 {
    let product = u128::from(FxBuildHasher.hash_one(bytes)) * 0x9E37_79B9_7F4A_7C15;
    (product >> 64) as u64 ^ product as u64
}
