//! The pretokens of a text to ids, some hundred at a time.
//!
//! Frequent ones are found in a table so small that it is always at hand, and pass without a branch. The rare ones among
//! them are then looked for in large tables, together: waiting for the memory of each in turn took half of all time.
//! What is not there either is merged, several at once (see [`lockstep`](super::lockstep)). At last the ids of all are
//! written one after the other.

#![allow(clippy::inline_always)] // what is to be compiled for a kind of processor has to be in one function

use std::ops::Range;

use super::Tokenizer;
use super::cache::{Cache, NearTable, ShortTable};
use super::lockstep::merge_words;
use super::pieces::encode_through_window;
use crate::control::Control;
use crate::error::Result;
use crate::memory::{append, reserve};
use crate::raw::append::append_counted;
use crate::raw::simd::{Instructions, Job, Simd};
use crate::word_key;

/// The pretokens that wait: enough of them that those to be merged keep each other company.
const CAPACITY: usize = 256;
/// A bit for each.
type Bits = [u64; CAPACITY / 64];
/// The places of an entry, which are copied whole and counted: it takes no branch on how many are ids.
const PLACES: usize = NearTable::INLINE + 1;
/// A key that no pretoken has: its length would be 255.
const NO_KEY: u128 = u128::MAX;

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
    /// Where the large tables have them.
    buckets: [u32; CAPACITY],
    /// The entries of most, and the ids of the others and where they are.
    found: [[u32; PLACES]; CAPACITY],
    fresh: Vec<u32>,
    fresh_ranges: [(u32, u32); CAPACITY],
    /// Those that have to be merged, of up to 15 and of more bytes.
    missed: (Vec<u16>, Vec<u16>),
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            ends: [0; CAPACITY],
            keys: [0; CAPACITY],
            buckets: [0; CAPACITY],
            found: [[0; PLACES]; CAPACITY],
            fresh: Vec::new(),
            fresh_ranges: [(0, 0); CAPACITY],
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

    #[inline]
    fn fresh(&self, place: usize) -> &[u32] {
        let (start, end) = self.fresh_ranges[place];
        &self.fresh[start as usize..end as usize]
    }

    /// Forgets all that is known of pretokens.
    fn clear(&mut self) {
        self.fresh.clear();
        self.missed.0.clear();
        self.missed.1.clear();
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
        cache.waiting.clear();
        Self { tokenizer, text, cache, out, control, start: 0, end: 0, length: 0 }
    }

    /// Goes on at `at`, when nothing waits.
    pub(super) fn skip_to(&mut self, at: usize) {
        (self.start, self.end) = (at, at);
    }

    /// Takes the pretokens that end at `ends`, one behind the other from the end of the last one.
    #[inline]
    pub(super) fn take(&mut self, ends: &[usize]) -> Result<()> {
        ends.chunks(CAPACITY).try_for_each(|ends| self.take_some(ends))
    }

    /// At most as many as can wait.
    #[inline]
    fn take_some(&mut self, ends: &[usize]) -> Result<()> {
        let (mut last, mut are_short) = (self.end, true);
        for &end in ends {
            are_short &= end - last <= word_key::MAX_LEN;
            last = end;
        }
        if !are_short {
            return ends.iter().try_for_each(|&end| self.push(end));
        }
        if self.length + ends.len() > CAPACITY {
            self.flush()?;
        }
        self.cache.waiting.ends[self.length..][..ends.len()].copy_from_slice(ends);
        self.end = last;
        self.length += ends.len();
        if self.length == CAPACITY { self.flush() } else { Ok(()) }
    }

    /// Takes the pretoken from the end of the last one to `end`.
    #[inline]
    fn push(&mut self, end: usize) -> Result<()> {
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
            return self.encode_whole(end);
        }
        // Scripts whose characters have three bytes, behind a space or not. Those of two bytes are divided by spaces.
        let is_dense = text[range.start] >= 0xE0 || text[range.start + 1] >= 0xE0;
        if is_dense {
            tokenizer.joints.for_each_piece(text, range, |end| match end - self.end {
                _ if tokenizer.token_of(&text[self.end..end]).is_some() => self.merge_piece(end),
                0..=word_key::MAX_LEN => self.put(end),
                _ => self.put_long(end),
            })
        } else {
            self.put_long(end)
        }
    }

    fn put_long(&mut self, end: usize) -> Result<()> {
        let Some(key) = word_key::pack_long(self.text, &(self.end..end)) else { return self.encode_whole(end) };
        self.cache.waiting.buckets[self.length] = self.cache.long.bucket_of(key);
        self.put(end)
    }

    /// A piece that would be a token without regard to the merges if it were a pretoken, as which the cache has it.
    #[cold]
    fn merge_piece(&mut self, end: usize) -> Result<()> {
        self.flush()?;
        let piece = &self.text[self.end..end];
        self.skip_to(end);
        self.tokenizer.table.encode(piece, self.out, self.control)
    }

    /// Appends the ids of all that wait.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.control.check()?;
        Instructions::best().run(Flush(self))
    }

    /// Compiled into [`flush`](Self::flush) with all that it calls, once for each kind of processor.
    #[inline(always)]
    fn flush_here<S: Simd>(&mut self, simd: S) -> Result<()> {
        let num_pretokens = std::mem::take(&mut self.length);
        self.make_keys(num_pretokens);
        let mut rare = self.look_up_frequent(num_pretokens);
        if rare != Bits::default() {
            self.look_for(simd, &mut rare)?;
        }
        self.write(num_pretokens, rare)?;
        if !self.cache.waiting.fresh.is_empty() {
            self.remember();
        }
        self.start = self.end;
        Ok(())
    }

    /// The keys of all that wait, and where the small table would have them.
    #[inline(always)]
    fn make_keys(&mut self, num_pretokens: usize) {
        let Cache { near, waiting, .. } = &mut *self.cache;
        let Waiting { ends, keys, buckets, .. } = &mut **waiting;
        let mut start = self.start;
        for ((key, bucket), &end) in keys.iter_mut().zip(buckets).zip(&*ends).take(num_pretokens) {
            if let Some(packed) = word_key::pack(self.text, &(start..end)) {
                *key = packed;
                *bucket = near.bucket_of(packed);
            } else {
                *key = NO_KEY; // it will be looked up elsewhere, in a bucket that is known
            }
            start = end;
        }
    }

    /// Fills `found` but for those that are returned.
    #[inline(always)]
    fn look_up_frequent(&mut self, num_pretokens: usize) -> Bits {
        let Cache { near, waiting, .. } = &mut *self.cache;
        let Waiting { keys, buckets, found, .. } = &mut **waiting;
        let mut rare = Bits::default();
        for (block, rare) in rare.iter_mut().enumerate().take(num_pretokens.div_ceil(64)) {
            let places = 64 * block..num_pretokens.min(64 * block + 64);
            let queries = keys[places.clone()].iter().zip(&buckets[places.clone()]);
            let mut is_missing = 0;
            for (place, ((key, bucket), found)) in queries.zip(&mut found[places]).enumerate() {
                let (entry, is_hit) = near.look_up(*bucket, *key);
                *found = entry;
                is_missing |= u64::from(!is_hit) << place;
            }
            *rare = is_missing;
        }
        rare
    }

    /// Finds rare pretokens in the large tables or merges them; leaves those whose ids do not stand in `found`.
    #[inline(always)]
    fn look_for<S: Simd>(&mut self, simd: S, rare: &mut Bits) -> Result<()> {
        let Self { tokenizer, text, start, .. } = *self;
        let Cache { near, short, long, waiting, .. } = &mut *self.cache;
        let all = *rare;
        for place in ones(all) {
            if waiting.keys[place] != NO_KEY {
                waiting.buckets[place] = short.bucket_of(waiting.keys[place]);
            }
        }
        let (mut missed_short, mut missed_long) = std::mem::take(&mut waiting.missed);
        for place in ones(all) {
            let (key, bucket) = (waiting.keys[place], waiting.buckets[place]);
            if key == NO_KEY {
                let key = word_key::pack_long(text, &waiting.range(start, place)).expect("has been packed before");
                match long.find(bucket, key) {
                    Some(entry) => waiting.put_fresh(place, long.ids(&entry))?,
                    None => missed_long.push(place as u16),
                }
            } else if let Some(entry) = short.find(bucket, key) {
                if entry[ShortTable::INLINE] as usize <= ShortTable::INLINE {
                    waiting.found[place] = entry;
                    rare[place / 64] &= !(1 << (place % 64));
                    near.insert(key, short.ids(&entry));
                } else {
                    waiting.put_fresh(place, short.ids(&entry))?;
                }
            } else if let Some(id) = tokenizer.token_of(&text[waiting.range(start, place)]) {
                waiting.put_fresh(place, &[id])?;
            } else {
                missed_short.push(place as u16);
            }
        }
        merge_missed::<S, { word_key::MAX_LEN + 1 }>(simd, tokenizer, text, start, &missed_short, waiting)?;
        merge_missed::<S, { word_key::MAX_LONG_LEN + 1 }>(simd, tokenizer, text, start, &missed_long, waiting)?;
        waiting.missed = (missed_short, missed_long);
        Ok(())
    }

    /// Appends the ids of all, which stand in `fresh` for those that are `rare`, or else in `found`.
    #[inline(always)]
    fn write(&mut self, num_pretokens: usize, rare: Bits) -> Result<()> {
        let Waiting { found, fresh, fresh_ranges, .. } = &*self.cache.waiting;
        reserve(self.out, PLACES * num_pretokens + fresh.len())?;
        let mut next = 0;
        for rare in ones(rare) {
            append_counted(self.out, &found[next..rare]);
            let (start, end) = fresh_ranges[rare];
            self.out.extend_from_slice(&fresh[start as usize..end as usize]);
            next = rare + 1;
        }
        append_counted(self.out, &found[next..num_pretokens]);
        Ok(())
    }

    /// Puts into the tables what was merged. Only now: it may drive out what was found there.
    fn remember(&mut self) {
        let Cache { short, long, waiting, .. } = &mut *self.cache;
        for &place in &waiting.missed.0 {
            let place = usize::from(place);
            short.insert(waiting.keys[place], waiting.fresh(place));
        }
        for &place in &waiting.missed.1 {
            let place = usize::from(place);
            if let Some(key) = word_key::pack_long(self.text, &waiting.range(self.start, place)) {
                long.insert(key, waiting.fresh(place));
            }
        }
        waiting.clear();
    }

    /// One that has no entry in the cache, after all that wait.
    #[cold]
    fn encode_whole(&mut self, end: usize) -> Result<()> {
        self.flush()?;
        let range = self.end..end;
        self.skip_to(end);
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

/// What is done with those that wait, compiled for each set of instructions.
struct Flush<'a, 'b>(&'a mut Pending<'b>);

impl Job for Flush<'_, '_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Result<()> {
        self.0.flush_here(simd)
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
#[inline(always)]
fn merge_missed<S: Simd, const W: usize>(
    simd: S,
    tokenizer: &Tokenizer,
    text: &[u8],
    start: usize,
    places: &[u16],
    waiting: &mut Waiting,
) -> Result<()> {
    let Waiting { ends, fresh, fresh_ranges, .. } = waiting;
    reserve(fresh, places.len() * W)?;
    let range = |place: usize| (if place == 0 { start } else { ends[place - 1] })..ends[place];
    let words = places.iter().map(|&place| (usize::from(place), &text[range(usize::from(place))]));
    merge_words::<S, W>(simd, &tokenizer.table, words, |place, ids| {
        let start = fresh.len() as u32;
        fresh.extend_from_slice(ids);
        fresh_ranges[place] = (start, fresh.len() as u32);
    });
    Ok(())
}

const _: () = assert!(CAPACITY <= 1 << 16, "places have two bytes");
const _: () = assert!(ShortTable::INLINE == NearTable::INLINE, "entries move from one to the other");
