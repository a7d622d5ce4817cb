//! Distinct pretokens and how often each occurs.

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::word_key;

/// Open addressing over packed keys for short pretokens, an ordinary map for the rare long ones.
#[derive(Debug)]
pub(crate) struct CountTable {
    /// A power of two of slots, at most two thirds of them in use; key 0 marks a free one.
    slots: Vec<(u128, u64)>,
    num_short: usize,
    long: FxHashMap<Box<[u8]>, u64>,
}

impl CountTable {
    const INITIAL_SLOTS: usize = 1 << 12;

    pub(crate) fn new() -> Self {
        Self { slots: vec![(0, 0); Self::INITIAL_SLOTS], num_short: 0, long: FxHashMap::default() }
    }

    /// Adds `weight` to the count of the non-empty pretoken `text[range]`.
    #[inline]
    pub(crate) fn add(&mut self, text: &[u8], range: Range<usize>, weight: u64) {
        match word_key::pack(text, &range) {
            Some(key) => self.add_short(key, weight),
            None => self.add_long(&text[range], weight),
        }
    }

    #[inline]
    fn add_short(&mut self, key: u128, weight: u64) {
        let at = self.slot_of(key);
        let slot = &mut self.slots[at];
        slot.1 += weight;
        if slot.0 == 0 {
            slot.0 = key;
            self.num_short += 1;
            if self.num_short * 3 > self.slots.len() * 2 {
                self.grow();
            }
        }
    }

    /// The slot that holds `key`, or the free one where it belongs.
    #[inline]
    fn slot_of(&self, key: u128) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = word_key::hash(key) as usize & mask;
        while self.slots[at].0 != key && self.slots[at].0 != 0 {
            at = (at + 1) & mask;
        }
        at
    }

    #[cold]
    fn grow(&mut self) {
        let doubled = vec![(0, 0); self.slots.len() * 2];
        for slot in std::mem::replace(&mut self.slots, doubled) {
            if slot.0 != 0 {
                let at = self.slot_of(slot.0);
                self.slots[at] = slot;
            }
        }
    }

    fn add_long(&mut self, pretoken: &[u8], weight: u64) {
        match self.long.get_mut(pretoken) {
            Some(count) => *count += weight,
            None => {
                self.long.insert(pretoken.into(), weight);
            }
        }
    }

    /// Adds every count of `other`.
    fn merge(&mut self, other: Self) {
        for (key, count) in other.slots {
            if key != 0 {
                self.add_short(key, count);
            }
        }
        for (pretoken, count) in other.long {
            *self.long.entry(pretoken).or_default() += count;
        }
    }

    /// Adds every count of every table.
    pub(crate) fn merge_all(&mut self, others: Vec<Self>) {
        for other in others {
            self.merge(other);
        }
    }

    /// The number of distinct pretokens.
    pub(crate) fn len(&self) -> usize {
        self.num_short + self.long.len()
    }

    /// Calls `visit` with every pretoken and its count, in no particular order.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&[u8], u64)) {
        for &(key, count) in &self.slots {
            if key != 0 {
                let (bytes, length) = word_key::unpack(key);
                visit(&bytes[..length], count);
            }
        }
        for (pretoken, &count) in &self.long {
            visit(pretoken, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_as_a_plain_map_does(
            pretokens in prop::collection::vec((prop::collection::vec(0_u8..3, 1..20), 1_u64..1 << 40), 0..200),
            parts in 1_usize..4,
        ) {
            let mut expected: HashMap<Vec<u8>, u64> = HashMap::new();
            let mut tables: Vec<CountTable> = (0..parts).map(|_| CountTable::new()).collect();
            for (index, (pretoken, weight)) in pretokens.iter().enumerate() {
                *expected.entry(pretoken.clone()).or_default() += weight;
                tables[index % parts].add(pretoken, 0..pretoken.len(), *weight);
            }
            let mut table = tables.remove(0);
            table.merge_all(tables);
            let mut found = HashMap::new();
            table.for_each(|pretoken, count| assert!(found.insert(pretoken.to_vec(), count).is_none()));
            prop_assert_eq!(table.len(), expected.len());
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn growing_loses_nothing() {
        let mut table = CountTable::new();
        for number in 0..50_000_u32 {
            table.add(&number.to_be_bytes(), 0..4, 1 << 33);
            table.add(&number.to_be_bytes(), 0..4, 1);
        }
        assert_eq!(table.len(), 50_000);
        table.for_each(|_, count| assert_eq!(count, (1 << 33) + 1));
    }
}
