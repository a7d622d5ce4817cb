//! The pretokens of a text to ids, some hundred at a time.
//!
//! Frequent ones are found in a table so small that it is always at hand, and pass without a branch. The rare ones among
//! them are then looked for in large tables, together: waiting for the memory of each in turn took half of all time.
//! What is not there either is merged, several at once (see [`lockstep`](super::lockstep)): where only a few have to be,
//! more pretokens are looked up first. At last the ids of all are written one after the other.

#![allow(clippy::inline_always)] // what is to be compiled for a kind of processor has to be in one function

use super::Tokenizer;
use super::apart::Ids;
use super::cache::Cache;
use super::key::Key;
use super::lockstep::WORDS_AT_A_TIME;
use super::near::{NearTable, look_up};
use super::recent;
use super::waiting::{BLOCK, CAPACITY, List, Missed, Waiting};
use super::windows::encode_through_windows;
use crate::control::Control;
use crate::error::Result;
use crate::memory::append;
use crate::raw::simd::{Instructions, Job, Simd};
use crate::word_key;

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
        ends.chunks(BLOCK).try_for_each(|ends| self.take_some(ends))
    }

    /// At most as many as can wait.
    #[inline]
    fn take_some(&mut self, ends: &[usize]) -> Result<()> {
        let (&[first, ..], &[.., last]) = (ends, ends) else { return Ok(()) };
        // The bits of their lengths above the lowest four.
        let longer = ends.iter().zip(&ends[1..]).fold(first - self.end, |bits, (start, end)| bits | (end - start));
        if longer > word_key::MAX_LEN {
            return ends.iter().try_for_each(|&end| self.push(end));
        }
        if self.length + ends.len() > BLOCK {
            self.look_up()?;
        }
        self.cache.waiting.ends[self.length..][..ends.len()].copy_from_slice(ends);
        self.end = last;
        self.length += ends.len();
        if self.length == BLOCK { self.look_up() } else { Ok(()) }
    }

    /// Takes the pretoken from the end of the last one to `end`.
    #[inline]
    fn push(&mut self, end: usize) -> Result<()> {
        if end - self.end > word_key::MAX_LEN { self.push_long(end) } else { self.put(end) }
    }

    #[inline]
    fn put(&mut self, end: usize) -> Result<()> {
        // `length` is less than a block's: it is taken down to 0 when it comes to be equal.
        self.cache.waiting.ends[self.length % BLOCK] = end;
        self.end = end;
        self.length += 1;
        if self.length == BLOCK { self.look_up() } else { Ok(()) }
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
        if let Some(key) = word_key::pack_long(self.text, &(self.end..end)) {
            self.cache.waiting.hashes[self.length] = key.hash();
        } else if end - self.end > recent::MAX_LEN {
            return self.encode_whole(end);
        }
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
        Instructions::best().run(LookUp { pending: self, is_last: true })
    }

    /// Looks a block up, and appends the ids of all that wait unless it is worth waiting for more.
    fn look_up(&mut self) -> Result<()> {
        self.control.check()?;
        Instructions::best().run(LookUp { pending: self, is_last: false })
    }

    /// Compiled into [`LookUp`] with all that it calls, once for each kind of processor.
    #[inline(always)]
    fn look_up_here<S: Simd>(&mut self, simd: S, is_last: bool) -> Result<()> {
        let num_pretokens = std::mem::take(&mut self.length);
        self.make_keys(num_pretokens);
        let num_rare = self.look_up_frequent(num_pretokens);
        if num_rare > 0 {
            self.look_for(num_rare)?;
        }
        self.start = self.end;
        let waiting = &mut self.cache.waiting;
        waiting.num_found += num_pretokens;
        let num_missed = waiting.missed.len() + waiting.missed_long.len();
        let may_wait = (1..WORDS_AT_A_TIME).contains(&num_missed) && waiting.num_found + BLOCK <= CAPACITY;
        if may_wait && !is_last {
            return Ok(());
        }
        if num_missed > 0 {
            waiting.merge_missed(simd, &self.tokenizer.table)?;
        }
        waiting.write(self.cache.short.apart(), self.cache.long.apart(), self.out)?;
        self.remember();
        Ok(())
    }

    /// The keys of all that wait and their hashes; what the small table has of them is on its way.
    #[inline(always)]
    fn make_keys(&mut self, num_pretokens: usize) {
        let Cache { near, waiting, .. } = &mut *self.cache;
        let Waiting { ends, keys, hashes, .. } = &mut **waiting;
        let (near, text) = (near.buckets(), self.text);
        let (ends, keys, hashes) = (&ends[..num_pretokens], &mut keys[..num_pretokens], &mut hashes[..num_pretokens]);
        let mut start = self.start;
        for place in 0..num_pretokens {
            let end = ends[place];
            if let Some(key) = word_key::pack(text, &(start..end)) {
                let hash = key.hash();
                (keys[place], hashes[place]) = (key, hash);
                crate::raw::prefetch(&near[NearTable::index(hash)]);
            } else {
                keys[place] = NO_KEY; // it will be looked up elsewhere, by a hash that is known
            }
            start = end;
        }
    }

    /// Fills `found` but for the places that are put into `rare`; returns their number.
    #[inline(always)]
    fn look_up_frequent(&mut self, num_pretokens: usize) -> usize {
        let Cache { near, waiting, .. } = &mut *self.cache;
        let Waiting { keys, hashes, found, num_found, rare, .. } = &mut **waiting;
        let near = near.buckets();
        let (keys, hashes) = (&keys[..num_pretokens], &hashes[..num_pretokens]);
        let found = &mut found[*num_found..][..num_pretokens];
        let mut num_rare = 0;
        for place in 0..num_pretokens {
            let (entry, is_hit) = look_up(&near[NearTable::index(hashes[place])], keys[place]);
            found[place] = entry;
            rare[num_rare % BLOCK] = place as u8;
            num_rare += usize::from(!is_hit);
        }
        num_rare
    }

    /// Finds rare pretokens in the large tables; those whose ids do not stand in `found` then stand apart.
    #[inline(always)]
    fn look_for(&mut self, num_rare: usize) -> Result<()> {
        let Self { tokenizer, text, start, control, .. } = *self;
        let Cache { near, short, long, waiting, .. } = &mut *self.cache;
        let (short_lines, long_lines) = (short.lines(), long.lines());
        for &place in &waiting.rare[..num_rare] {
            let (key, hash) = (waiting.keys[usize::from(place)], waiting.hashes[usize::from(place)]);
            if key == NO_KEY { long_lines.prefetch(hash) } else { short_lines.prefetch(hash) }
        }
        for index in 0..num_rare {
            let place = usize::from(waiting.rare[index]);
            let (key, hash) = (waiting.keys[place], waiting.hashes[place]);
            if key == NO_KEY {
                let range = waiting.range(start, place);
                let Some(key) = word_key::pack_long(text, &range) else {
                    waiting.put_encoded(place, |ids| tokenizer.encode_long(&text[range], ids, control))?;
                    continue;
                };
                if let Some((entry, _)) = long_lines.find(hash, key) {
                    if let Some(ids) = Ids::of(&entry) {
                        waiting.put_apart(place, List::Long, long.apart(), ids);
                    } else {
                        let [ids @ .., length] = entry;
                        waiting.put_fresh(place, &ids[..length as usize])?;
                    }
                } else {
                    let number = waiting.put_fresh(place, &[])?;
                    waiting.missed_long.push(Missed { number, hash, key });
                }
            } else if let Some((entry, was_met)) = short_lines.find(hash, key) {
                if let Some(ids) = Ids::of(&entry) {
                    waiting.put_apart(place, List::Short, short.apart(), ids);
                } else {
                    let num_found = waiting.num_found;
                    waiting.found[num_found + place] = entry;
                    if was_met {
                        near.put(hash, (key, entry));
                    }
                }
            } else if let Some(id) = tokenizer.token_of(&text[waiting.range(start, place)]) {
                waiting.put_fresh(place, &[id])?;
            } else {
                let number = waiting.put_fresh(place, &[])?;
                waiting.missed.push(Missed { number, hash, key });
            }
        }
        Ok(())
    }

    /// Puts into the tables what was merged.
    fn remember(&mut self) {
        let Cache { short, long, waiting, .. } = &mut *self.cache;
        for missed in &waiting.missed {
            short.learn(missed.hash, missed.key, waiting.ids_of(missed));
        }
        for missed in &waiting.missed_long {
            long.learn(missed.hash, missed.key, waiting.ids_of(missed));
        }
        waiting.clear();
        self.cache.make_room();
    }

    /// One that has no entry in the cache, after all that wait.
    #[cold]
    fn encode_whole(&mut self, end: usize) -> Result<()> {
        self.flush()?;
        let range = self.end..end;
        self.skip_to(end);
        let Tokenizer { table, levels, .. } = self.tokenizer;
        if let Some(id) = self.tokenizer.token_of(&self.text[range.clone()]) {
            append(self.out, &[id])
        } else if let Some(levels) = levels {
            levels.encode(table, self.text, range, self.cache, self.out, self.control)
        } else {
            self.tokenizer.encode_long(&self.text[range], self.out, self.control)
        }
    }
}

impl Tokenizer {
    /// Appends the ids of a pretoken that has no entry in the cache and is no token.
    #[inline(never)]
    fn encode_long(&self, pretoken: &[u8], out: &mut Vec<u32>, control: &Control) -> Result<()> {
        let length_of = |id| self.vocab.bytes(id).map_or(0, <[u8]>::len);
        let encode = |out: &mut Vec<u32>| encode_through_windows(&self.table, length_of, pretoken, out, control);
        self.recent.find_or_encode(pretoken, out, encode)
    }
}

/// What is done with a block, compiled for each set of instructions.
struct LookUp<'a, 'b> {
    pending: &'a mut Pending<'b>,
    is_last: bool,
}

impl Job for LookUp<'_, '_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Result<()> {
        self.pending.look_up_here(simd, self.is_last)
    }
}
