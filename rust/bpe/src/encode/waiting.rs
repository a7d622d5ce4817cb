//! Pretokens that have been looked up, until their ids are written.

#![allow(clippy::inline_always)] // what is to be compiled for a kind of processor has to be in one function

use std::ops::Range;

use super::apart::{Apart, Ids};
use super::lockstep::merge_words;
use super::merge::MergeTable;
use super::near;
use super::recent;
use crate::error::Result;
use crate::memory::{append, reserve};
use crate::raw::append::append_counted;
use crate::raw::simd::Simd;
use crate::word_key;

/// The pretokens that are looked up together.
pub(super) const BLOCK: usize = 256;
/// Those whose ids are written together.
pub(super) const CAPACITY: usize = 4 * BLOCK;
/// The places of an entry, which are copied whole and counted: it takes no branch on how many are ids.
const PLACES: usize = near::MAX_IDS + 1;

/// What is known of pretokens whose ids are not written yet. It is kept with the cache, so that a short text need not
/// clear it.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Of those that have not been looked up.
    pub(super) ends: [usize; BLOCK],
    pub(super) keys: [u128; BLOCK],
    /// The hashes of the keys; of those without one, of their long keys.
    pub(super) hashes: [u32; BLOCK],
    /// The places in this block of those that are not frequent.
    pub(super) rare: [u8; BLOCK],
    /// The entries of those that have been looked up, and how many these are.
    pub(super) found: [[u32; PLACES]; CAPACITY],
    pub(super) num_found: usize,
    /// Those whose entries are not the ids, in order.
    elsewhere: Vec<Elsewhere>,
    /// The ids of those that had to be merged, and of long ones.
    fresh: Vec<u32>,
    /// The number of ids of the others.
    num_apart: usize,
    /// Those that have to be merged, of up to 15 and of up to 31 bytes.
    pub(super) missed: Vec<Missed<u128>>,
    pub(super) missed_long: Vec<Missed<[u128; 2]>>,
}

/// A pretoken whose entry is not its ids.
#[derive(Clone, Copy, Debug)]
struct Elsewhere {
    place: u16,
    list: List,
    ids: Ids,
}

/// Where ids stand.
#[derive(Clone, Copy, Debug)]
pub(super) enum List {
    /// In `fresh`.
    Fresh,
    /// Apart from the entry of the table of short pretokens.
    Short,
    /// Apart from that of the table of long ones.
    Long,
}

/// One of those whose ids are elsewhere, before it has any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missed<K> {
    pub(super) number: u16,
    pub(super) hash: u32,
    pub(super) key: K,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            ends: [0; BLOCK],
            keys: [0; BLOCK],
            hashes: [0; BLOCK],
            rare: [0; BLOCK],
            found: [[0; PLACES]; CAPACITY],
            num_found: 0,
            elsewhere: Vec::new(),
            fresh: Vec::new(),
            num_apart: 0,
            missed: Vec::new(),
            missed_long: Vec::new(),
        }
    }
}

impl Waiting {
    /// With its vectors, which may have room for twice as much as they hold.
    pub(super) const MAX_BYTES: usize = size_of::<Self>()
        + 2 * CAPACITY * (size_of::<Elsewhere>() + size_of::<Missed<[u128; 2]>>() + recent::MAX_LEN * size_of::<u32>());

    /// Where a pretoken of the block begins and ends, the first at `start`.
    #[inline]
    pub(super) fn range(&self, start: usize, place: usize) -> Range<usize> {
        (if place == 0 { start } else { self.ends[place - 1] })..self.ends[place]
    }

    /// Notes that the ids of a pretoken of the block are fresh, and which they are as far as they are at hand; returns
    /// its number.
    #[inline]
    pub(super) fn put_fresh(&mut self, place: usize, ids: &[u32]) -> Result<u16> {
        let start = self.fresh.len() as u32;
        append(&mut self.fresh, ids)?;
        let ids = Ids { start, length: ids.len() as u32 };
        self.elsewhere.push(Elsewhere { place: (self.num_found + place) as u16, list: List::Fresh, ids });
        Ok((self.elsewhere.len() - 1) as u16)
    }

    /// Notes that the ids of a pretoken of the block are fresh, and lets them be appended to these.
    pub(super) fn put_encoded(&mut self, place: usize, encode: impl FnOnce(&mut Vec<u32>) -> Result<()>) -> Result<()> {
        let number = self.put_fresh(place, &[])?;
        let start = self.fresh.len() as u32;
        encode(&mut self.fresh)?;
        self.elsewhere[usize::from(number)].ids = Ids { start, length: self.fresh.len() as u32 - start };
        Ok(())
    }

    /// Notes that the ids of a pretoken of the block stand apart from its entry. They are asked for: there is time until
    /// they are written.
    #[inline]
    pub(super) fn put_apart(&mut self, place: usize, list: List, apart: &Apart, ids: Ids) {
        apart.prefetch(ids);
        self.num_apart += ids.length as usize;
        self.elsewhere.push(Elsewhere { place: (self.num_found + place) as u16, list, ids });
    }

    /// The ids of one that was to be merged.
    #[inline]
    pub(super) fn ids_of<K>(&self, missed: &Missed<K>) -> &[u32] {
        let Ids { start, length } = self.elsewhere[usize::from(missed.number)].ids;
        &self.fresh[start as usize..][..length as usize]
    }

    /// Merges all that have to be.
    #[inline(always)]
    pub(super) fn merge_missed<S: Simd>(&mut self, simd: S, table: &MergeTable) -> Result<()> {
        let Self { elsewhere, fresh, missed, missed_long, .. } = self;
        let num_bytes = missed.len() * word_key::MAX_LEN + missed_long.len() * word_key::MAX_LONG_LEN;
        reserve(fresh, num_bytes)?; // there are no more ids than bytes
        let mut put = |number: u16, ids: &[u32]| {
            elsewhere[usize::from(number)].ids = Ids { start: fresh.len() as u32, length: ids.len() as u32 };
            fresh.extend_from_slice(ids);
        };
        let words = missed.iter().map(|missed| (missed.number, word_key::unpack(missed.key)));
        merge_words(simd, table, words, &mut put);
        if !missed_long.is_empty() {
            let words = missed_long.iter().map(|missed| (missed.number, word_key::unpack_long(missed.key)));
            merge_words(simd, table, words, &mut put);
        }
        Ok(())
    }

    /// Appends the ids of all that have been looked up. Those that stand apart do so in these.
    #[inline(always)]
    pub(super) fn write(&self, short: &Apart, long: &Apart, out: &mut Vec<u32>) -> Result<()> {
        let Self { found, num_found, elsewhere, fresh, num_apart, .. } = self;
        reserve(out, PLACES * num_found + fresh.len() + num_apart)?;
        let mut next = 0;
        for &Elsewhere { place, list, ids } in elsewhere {
            let place = usize::from(place);
            append_counted(out, &found[next..place]);
            match list {
                List::Fresh => out.extend_from_slice(&fresh[ids.start as usize..][..ids.length as usize]),
                List::Short => out.extend(short.ids(ids)),
                List::Long => out.extend(long.ids(ids)),
            }
            next = place + 1;
        }
        append_counted(out, &found[next..*num_found]);
        Ok(())
    }

    /// Forgets all but the block.
    pub(super) fn clear(&mut self) {
        self.num_found = 0;
        self.elsewhere.clear();
        self.fresh.clear();
        self.num_apart = 0;
        self.missed.clear();
        self.missed_long.clear();
    }
}

const _: () = assert!(BLOCK <= 1 << 8 && CAPACITY <= 1 << 16, "a place has a byte in a block and two in all");
