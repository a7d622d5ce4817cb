//! The pretokens of a text to ids, some dozens at a time.
//!
//! A pretoken waits until the memory that it will be looked up in has arrived: the cache is larger than the
//! processor's own, and waiting for each line in turn took half of all time. Those that are in the cache then pass
//! without a branch; those that are not are merged side by side.

use std::ops::Range;

use super::cache::{Cache, NearTable, ShortTable};
use super::lanes::merge_words;
use super::merge::reserve;
use super::pieces::encode_through_window;
use super::{Tokenizer, text::append};
use crate::control::Control;
use crate::error::Result;
use crate::word_key;

/// The pretokens that wait: enough of them that those to be merged keep each other company.
const CAPACITY: usize = 256;
/// A bit for each.
type Bits = [u64; CAPACITY / 64];

/// Takes the pretokens of a text in order and appends their ids.
pub(super) struct Pending<'a> {
    tokenizer: &'a Tokenizer,
    text: &'a [u8],
    cache: &'a mut Cache,
    pub(super) out: &'a mut Vec<u32>,
    control: &'a Control,
    /// Where the first of those that wait starts, and the last ends.
    start: usize,
    end: usize,
    length: usize,
}

/// What is known of the pretokens that wait. It is kept with the cache, so that a short text need not clear it.
#[derive(Debug)]
pub(crate) struct Waiting {
    ends: [usize; CAPACITY],
    keys: [u128; CAPACITY],
    buckets: [u32; CAPACITY],
    found: [[u32; NearTable::INLINE + 1]; CAPACITY],
    /// Those of more than 15 bytes.
    is_long: Bits,
    /// Those of them that are not looked up.
    is_whole: Bits,
    /// Ids that do not stand in `found`, and where.
    fresh: Vec<u32>,
    fresh_ranges: [(u32, u32); CAPACITY],
    /// Where the ids of 64 pretokens are put together.
    ids: [u32; 64 * (word_key::MAX_LONG_LEN + 1)],
    /// Those that have to be merged, of up to 15 and of more bytes.
    missed: (Vec<u8>, Vec<u8>),
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            ends: [0; CAPACITY],
            keys: [0; CAPACITY],
            buckets: [0; CAPACITY],
            found: [[0; NearTable::INLINE + 1]; CAPACITY],
            is_long: Bits::default(),
            is_whole: Bits::default(),
            fresh: Vec::new(),
            fresh_ranges: [(0, 0); CAPACITY],
            ids: [0; 64 * (word_key::MAX_LONG_LEN + 1)],
            missed: Default::default(),
        }
    }
}

impl Waiting {
    /// Where a pretoken begins and ends, the first at `start`.
    #[inline]
    fn range(&self, start: usize, place: usize) -> Range<usize> {
        (if place == 0 { start } else { self.ends[place - 1] })..self.ends[place]
    }

    #[inline]
    fn put_fresh(&mut self, place: usize, ids: &[u32]) -> Result<()> {
        let start = self.fresh.len() as u32;
        append(&mut self.fresh, ids)?;
        self.fresh_ranges[place] = (start, self.fresh.len() as u32);
        Ok(())
    }

    fn fresh(&self, place: usize) -> &[u32] {
        let (start, end) = self.fresh_ranges[place];
        &self.fresh[start as usize..end as usize]
    }

    /// The ids of the pretokens at `places`, at most 64 of which none is `whole`.
    #[inline]
    fn gather(&mut self, places: Range<usize>, mut rare: u64) -> &[u32] {
        let Self { ids, found, fresh, fresh_ranges, .. } = self;
        let mut length = 0;
        let mut next = places.start;
        // To copy all places of an entry and count those in use takes no branch on how many they are.
        loop {
            let end = places.end.min(places.start / 64 * 64 + rare.trailing_zeros() as usize);
            for found in &found[next..end] {
                ids[length..=length + NearTable::INLINE].copy_from_slice(found);
                length += found[NearTable::INLINE] as usize;
            }
            if end == places.end {
                return &ids[..length];
            }
            let (start, stop) = fresh_ranges[end];
            for &id in &fresh[start as usize..stop as usize] {
                ids[length] = id;
                length += 1;
            }
            rare &= rare - 1;
            next = end + 1;
        }
    }
}

impl<'a> Pending<'a> {
    pub(super) fn new(
        tokenizer: &'a Tokenizer,
        text: &'a [u8],
        cache: &'a mut Cache,
        out: &'a mut Vec<u32>,
        control: &'a Control,
    ) -> Self {
        (cache.waiting.is_long, cache.waiting.is_whole) = Default::default();
        Self { tokenizer, text, cache, out, control, start: 0, end: 0, length: 0 }
    }

    /// Goes on at `at`, when nothing waits.
    pub(super) fn skip_to(&mut self, at: usize) {
        (self.start, self.end) = (at, at);
    }

    /// Takes the pretoken from the end of the last one to `end`.
    #[inline]
    pub(super) fn push(&mut self, end: usize) -> Result<()> {
        if end - self.end > word_key::MAX_LEN { self.push_long(end) } else { self.put(end) }
    }

    #[inline]
    fn put(&mut self, end: usize) -> Result<()> {
        // `length` is less than the capacity: it is taken down to 0 when it comes to be equal.
        self.cache.waiting.ends[self.length % CAPACITY] = end;
        self.end = end;
        self.length += 1;
        if self.length == CAPACITY { self.flush() } else { Ok(()) }
    }

    /// One of more than 15 bytes, in pieces if it has no spaces where there might be some.
    #[inline(never)]
    fn push_long(&mut self, end: usize) -> Result<()> {
        let (tokenizer, text, range) = (self.tokenizer, self.text, self.end..end);
        if tokenizer.levels.is_some() || tokenizer.token_of(&text[range.clone()]).is_some() {
            return self.put_long(end, true);
        }
        // Scripts whose characters have three bytes, behind a space or not. Those of two bytes are divided by spaces.
        let is_dense = text[range.start] >= 0xE0 || text[range.start + 1] >= 0xE0;
        if is_dense {
            tokenizer.joints.for_each_piece(text, range, |end| match end - self.end {
                0..=word_key::MAX_LEN => self.put(end),
                length => self.put_long(end, length > word_key::MAX_LONG_LEN),
            })
        } else {
            self.put_long(end, range.len() > word_key::MAX_LONG_LEN)
        }
    }

    fn put_long(&mut self, end: usize, is_whole: bool) -> Result<()> {
        let bit = 1 << (self.length % 64);
        self.cache.waiting.is_long[self.length / 64] |= bit;
        if is_whole {
            self.cache.waiting.is_whole[self.length / 64] |= bit;
        } else if let Some(key) = word_key::pack_long(self.text, &(self.end..end)) {
            self.cache.waiting.buckets[self.length] = self.cache.long.bucket_of(key);
        }
        self.put(end)
    }

    /// Appends the ids of all that wait.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.control.check()?;
        let num_pretokens = std::mem::take(&mut self.length);
        self.look_up_near(num_pretokens);
        let rare = self.look_up_rare(num_pretokens)?;
        for (block, rare) in rare.into_iter().enumerate().take(num_pretokens.div_ceil(64)) {
            let mut whole = self.cache.waiting.is_whole[block];
            let mut next = 64 * block;
            let last = num_pretokens.min(next + 64);
            loop {
                let end = last.min(64 * block + whole.trailing_zeros() as usize);
                let before = rare.unbounded_shr((next % 64) as u32).unbounded_shl((next % 64) as u32);
                append(self.out, self.cache.waiting.gather(next..end, before))?;
                if end == last {
                    break;
                }
                self.encode_whole(self.cache.waiting.range(self.start, end))?;
                whole &= whole - 1;
                next = end + 1;
            }
        }
        (self.cache.waiting.is_long, self.cache.waiting.is_whole) = Default::default();
        self.start = self.end;
        Ok(())
    }

    /// The keys of all that wait, and where the small table would have them.
    fn look_up_near(&mut self, num_pretokens: usize) {
        let Cache { near, waiting, .. } = &mut *self.cache;
        let mut start = self.start;
        let Waiting { ends, keys, buckets, is_long, .. } = &mut **waiting;
        for (place, ((key, bucket), end)) in keys.iter_mut().zip(buckets).zip(&*ends).enumerate().take(num_pretokens) {
            if let Some(packed) = word_key::pack(self.text, &(start..*end)) {
                *key = packed;
                *bucket = near.bucket_of(packed);
            } else {
                debug_assert!(is_long[place / 64] >> (place % 64) & 1 == 1);
            }
            start = *end;
        }
    }

    /// Fills `found`, and `fresh` for the pretokens that are returned.
    fn look_up_rare(&mut self, num_pretokens: usize) -> Result<Bits> {
        let Cache { near, waiting, .. } = &mut *self.cache;
        let Waiting { keys, buckets, found, is_long, .. } = &mut **waiting;
        let mut rare = Bits::default();
        for (block, (rare, is_long)) in rare.iter_mut().zip(is_long).enumerate().take(num_pretokens.div_ceil(64)) {
            let places = 64 * block..num_pretokens.min(64 * block + 64);
            let queries = keys[places.clone()].iter().zip(&buckets[places.clone()]);
            let mut is_missing = 0;
            for (place, ((key, bucket), found)) in queries.zip(&mut found[places]).enumerate() {
                let (places, is_hit) = near.look_up(*bucket, *key);
                *found = places;
                is_missing |= u64::from(!is_hit) << place;
            }
            *rare = is_missing | *is_long;
        }
        if rare == Bits::default() { Ok(rare) } else { self.find_rare(rare) }
    }

    /// Finds rare pretokens in the large tables or merges them; returns those that have too many ids for `found`.
    fn find_rare(&mut self, rare: Bits) -> Result<Bits> {
        let Self { tokenizer, text, start, .. } = *self;
        let Cache { near, short, long, waiting } = &mut *self.cache;
        waiting.fresh.clear();
        let mut left = rare;
        for place in ones(rare) {
            if waiting.is_long[place / 64] >> (place % 64) & 1 == 0 {
                waiting.buckets[place] = short.bucket_of(waiting.keys[place]);
            }
        }
        let (mut missed_short, mut missed_long) = std::mem::take(&mut waiting.missed);
        missed_short.clear();
        missed_long.clear();
        for place in ones(rare) {
            let range = waiting.range(start, place);
            if waiting.is_whole[place / 64] >> (place % 64) & 1 == 1 {
                continue;
            }
            if waiting.is_long[place / 64] >> (place % 64) & 1 == 1 {
                let key = word_key::pack_long(text, &range).expect("has been packed before");
                match long.look_up(waiting.buckets[place], key) {
                    (places, true) => waiting.put_fresh(place, long.ids(&places))?,
                    (_, false) => missed_long.push(place as u8),
                }
                continue;
            }
            let key = waiting.keys[place];
            if let (places, true) = short.look_up(waiting.buckets[place], key) {
                if places[ShortTable::INLINE] as usize <= ShortTable::INLINE {
                    waiting.found[place] = places;
                    left[place / 64] &= !(1 << (place % 64));
                    near.insert(key, short.ids(&places));
                } else {
                    waiting.put_fresh(place, short.ids(&places))?;
                }
            } else if let Some(id) = tokenizer.token_of(&text[range.clone()]) {
                waiting.put_fresh(place, &[id])?;
            } else {
                missed_short.push(place as u8);
            }
        }
        merge_missed::<{ word_key::MAX_LEN + 1 }>(tokenizer, text, start, &missed_short, waiting)?;
        merge_missed::<{ word_key::MAX_LONG_LEN + 1 }>(tokenizer, text, start, &missed_long, waiting)?;
        // Only now: what is put into a table may drive out what was found there.
        for &place in &missed_short {
            let place = usize::from(place);
            short.insert(waiting.keys[place], waiting.fresh(place));
        }
        for &place in &missed_long {
            let place = usize::from(place);
            let key = word_key::pack_long(text, &waiting.range(start, place)).expect("has been packed before");
            long.insert(key, waiting.fresh(place));
        }
        waiting.missed = (missed_short, missed_long);
        Ok(left)
    }

    /// One that has no entry in the cache.
    #[cold]
    fn encode_whole(&mut self, range: Range<usize>) -> Result<()> {
        let Tokenizer { table, levels, vocab, .. } = self.tokenizer;
        if let Some(id) = self.tokenizer.token_of(&self.text[range.clone()]) {
            return append(self.out, &[id]);
        }
        if let Some(levels) = levels {
            return levels.encode(table, self.text, range, self.cache, self.out, self.control);
        }
        let length_of = |id| vocab.bytes(id).map_or(0, <[u8]>::len);
        encode_through_window(table, length_of, &self.text[range], self.out, self.control)
    }
}

/// The places of the bits that are set.
fn ones(bits: Bits) -> impl Iterator<Item = usize> {
    bits.into_iter().enumerate().flat_map(|(block, mut bits)| {
        std::iter::from_fn(move || {
            let place = bits.trailing_zeros() as usize;
            bits &= bits.checked_sub(1)?;
            Some(64 * block + place)
        })
    })
}

/// Puts the ids of words of fewer than `W` bytes into `fresh`.
fn merge_missed<const W: usize>(
    tokenizer: &Tokenizer,
    text: &[u8],
    start: usize,
    places: &[u8],
    waiting: &mut Waiting,
) -> Result<()> {
    let Waiting { ends, fresh, fresh_ranges, .. } = waiting;
    reserve(fresh, places.len() * W)?;
    let range = |place: usize| (if place == 0 { start } else { ends[place - 1] })..ends[place];
    let words = places.iter().map(|&place| (usize::from(place), &text[range(usize::from(place))]));
    merge_words::<W>(&tokenizer.table, words, |place, ids| {
        let start = fresh.len() as u32;
        fresh.extend_from_slice(ids);
        fresh_ranges[place] = (start, fresh.len() as u32);
    });
    Ok(())
}

const _: () = assert!(CAPACITY <= 1 << 8, "places are bytes");
const _: () = assert!(ShortTable::INLINE == NearTable::INLINE, "entries move from one to the other");
