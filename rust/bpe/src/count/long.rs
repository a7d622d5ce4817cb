//! The counts of sequences that are too long for a packed key: of bytes, or of symbols.

use std::hash::{BuildHasher, Hash};

use rustc_hash::FxBuildHasher;

use crate::error::Result;
use crate::memory;

/// Open addressing over numbers of entries, the entries in the order of their first appearance, their items end to
/// end: three arrays, however many sequences there are.
#[derive(Debug)]
pub(crate) struct LongCounts<T> {
    /// A power of two of slots, at most half of them in use. The upper half of one is that of the hash, which spares
    /// a look at the entry for nearly every other sequence; the lower is the number of the entry plus one, or 0.
    slots: Vec<u64>,
    entries: Vec<Entry>,
    items: Vec<T>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    start: usize,
    length: usize,
    count: u64,
}

impl<T> Default for LongCounts<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), entries: Vec::new(), items: Vec::new() }
    }
}

impl<T: Copy + Eq + Hash> LongCounts<T> {
    /// Adds `weight` to the count of a sequence.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory); the counts are as they were.
    pub(crate) fn add(&mut self, sequence: &[T], weight: u64) -> Result<()> {
        self.add_hashed(sequence, hash(sequence), weight)
    }

    fn add_hashed(&mut self, sequence: &[T], hash: u64, weight: u64) -> Result<()> {
        if self.entries.len() * 2 >= self.slots.len() {
            self.grow()?;
        }
        let at = self.slot_of(hash, |entry| self.items_of(entry) == sequence);
        if self.slots[at] == 0 {
            memory::reserve(&mut self.items, sequence.len())?;
            let start = self.items.len();
            memory::push(&mut self.entries, Entry { hash, start, length: sequence.len(), count: weight })?;
            self.items.extend_from_slice(sequence);
            let number = u32::try_from(self.entries.len()).expect("four billion long sequences fill the memory");
            self.slots[at] = hash >> 32 << 32 | u64::from(number);
        } else {
            self.entries[number(self.slots[at])].count += weight;
        }
        Ok(())
    }

    fn items_of(&self, entry: &Entry) -> &[T] {
        &self.items[entry.start..entry.start + entry.length]
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
    fn grow(&mut self) -> Result<()> {
        self.slots = memory::filled(0, (self.slots.len() * 2).max(1 << 8))?;
        for index in 0..self.entries.len() {
            let hash = self.entries[index].hash;
            let at = self.slot_of(hash, |_| false);
            self.slots[at] = hash >> 32 << 32 | (index as u64 + 1);
        }
        Ok(())
    }

    /// Adds the counts of `other` whose hashes are wanted.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(crate) fn add_all(&mut self, other: &Self, is_wanted: impl Fn(u64) -> bool) -> Result<()> {
        let mut wanted = other.entries.iter().filter(|entry| is_wanted(entry.hash));
        wanted.try_for_each(|entry| self.add_hashed(other.items_of(entry), entry.hash, entry.count))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The memory it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        let entries = self.entries.capacity() * size_of::<Entry>();
        self.slots.capacity() * size_of::<u64>() + entries + self.items.capacity() * size_of::<T>()
    }

    /// Calls `visit` with every sequence and its count, in no particular order.
    ///
    /// # Errors
    /// Those of `visit`.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&[T], u64) -> Result<()>) -> Result<()> {
        self.entries.iter().try_for_each(|entry| visit(self.items_of(entry), entry.count))
    }
}

/// The index of the entry that a slot in use stands for.
fn number(slot: u64) -> usize {
    (slot as u32 - 1) as usize
}

/// The hash of a sequence, with both ends of it well mixed.
fn hash<T: Hash>(sequence: &[T]) -> u64 {
    let product = u128::from(FxBuildHasher.hash_one(sequence)) * 0x9E37_79B9_7F4A_7C15;
    (product >> 64) as u64 ^ product as u64
}
