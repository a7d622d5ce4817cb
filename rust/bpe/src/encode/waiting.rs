//! Pretokens that have been looked up, until their ids are written.

#![allow(clippy::inline_always)] // what is to be compiled for a kind of processor has to be in one function

use std::ops::Range;

use super::cache::ShortTable;
use super::lockstep::merge_words;
use super::merge::MergeTable;
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
const PLACES: usize = ShortTable::INLINE + 1;

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
    apart: Vec<Apart>,
    /// Their ids.
    fresh: Vec<u32>,
    /// Those that have to be merged, of up to 15 and of up to 31 bytes.
    pub(super) missed: Vec<Missed<u128>>,
    pub(super) missed_long: Vec<Missed<[u128; 2]>>,
}

/// A pretoken whose ids stand in `fresh`.
#[derive(Clone, Copy, Debug)]
struct Apart {
    place: u16,
    start: u32,
    end: u32,
}

/// One of those that stand apart, before it has ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missed<K> {
    pub(super) apart: u16,
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
            apart: Vec::new(),
            fresh: Vec::new(),
            missed: Vec::new(),
            missed_long: Vec::new(),
        }
    }
}

impl Waiting {
    /// With its vectors, which may have room for twice as much as they hold.
    pub(super) const MAX_BYTES: usize = size_of::<Self>()
        + 2 * CAPACITY
            * (size_of::<Apart>() + size_of::<Missed<[u128; 2]>>() + word_key::MAX_LONG_LEN * size_of::<u32>());

    /// Where a pretoken of the block begins and ends, the first at `start`.
    #[inline]
    pub(super) fn range(&self, start: usize, place: usize) -> Range<usize> {
        (if place == 0 { start } else { self.ends[place - 1] })..self.ends[place]
    }

    /// Notes that a pretoken of the block stands apart, and its ids as far as they are known; returns its number.
    #[inline]
    pub(super) fn put_apart(&mut self, place: usize, ids: &[u32]) -> Result<u16> {
        let start = self.fresh.len() as u32;
        append(&mut self.fresh, ids)?;
        self.apart.push(Apart { place: (self.num_found + place) as u16, start, end: self.fresh.len() as u32 });
        Ok((self.apart.len() - 1) as u16)
    }

    /// The ids of one that was to be merged.
    #[inline]
    pub(super) fn ids_of<K>(&self, missed: &Missed<K>) -> &[u32] {
        let Apart { start, end, .. } = self.apart[usize::from(missed.apart)];
        &self.fresh[start as usize..end as usize]
    }

    /// Merges all that have to be.
    #[inline(always)]
    pub(super) fn merge_missed<S: Simd>(&mut self, simd: S, table: &MergeTable) -> Result<()> {
        let Self { apart, fresh, missed, missed_long, .. } = self;
        let num_bytes = missed.len() * word_key::MAX_LEN + missed_long.len() * word_key::MAX_LONG_LEN;
        reserve(fresh, num_bytes)?; // there are no more ids than bytes
        let mut put = |number: u16, ids: &[u32]| {
            let start = fresh.len() as u32;
            fresh.extend_from_slice(ids);
            let apart = &mut apart[usize::from(number)];
            (apart.start, apart.end) = (start, fresh.len() as u32);
        };
        let words = missed.iter().map(|missed| (missed.apart, word_key::unpack(missed.key)));
        merge_words(simd, table, words, &mut put);
        let words = missed_long.iter().map(|missed| (missed.apart, word_key::unpack_long(missed.key)));
        merge_words(simd, table, words, &mut put);
        Ok(())
    }

    /// Appends the ids of all that have been looked up.
    #[inline(always)]
    pub(super) fn write(&self, out: &mut Vec<u32>) -> Result<()> {
        let Self { found, num_found, apart, fresh, .. } = self;
        reserve(out, PLACES * num_found + fresh.len())?;
        let mut next = 0;
        for apart in apart {
            let place = usize::from(apart.place);
            append_counted(out, &found[next..place]);
            out.extend_from_slice(&fresh[apart.start as usize..apart.end as usize]);
            next = place + 1;
        }
        append_counted(out, &found[next..*num_found]);
        Ok(())
    }

    /// Forgets all but the block.
    pub(super) fn clear(&mut self) {
        self.num_found = 0;
        self.apart.clear();
        self.fresh.clear();
        self.missed.clear();
        self.missed_long.clear();
    }
}

const _: () = assert!(BLOCK <= 1 << 8 && CAPACITY <= 1 << 16, "a place has a byte in a block and two in all");
