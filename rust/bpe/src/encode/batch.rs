//! Large texts and many texts, on as many threads as they are worth.

use std::ops::Range;

use super::cache::MAX_SCRATCH;
use super::{CacheGuard, Recognised, Tokenizer};
use crate::control::Control;
use crate::error::Result;
use crate::raw::zeroed::prefer_huge_pages;
use crate::split::cut::{Cutter, chunks};
use crate::{memory, parallel};

/// The bytes encoded between two looks at the control, and the least that is worth a thread.
const CHUNK_BYTES: usize = 1 << 20;
/// The bytes of several texts that one thread encodes in turn: starting one costs as much as encoding some kilobytes.
const GROUP_BYTES: usize = CHUNK_BYTES / 4;

impl Tokenizer {
    /// The ids of a text. Special tokens in it become their ids. A text of some megabytes is divided among
    /// `num_threads`; the result does not depend on their number.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), [`Error::Interrupted`](crate::Error::Interrupted), and
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for a regular expression that backtracks too much.
    pub fn encode(&self, text: &str, num_threads: usize, control: &Control) -> Result<Vec<u32>> {
        self.encode_with(text, &self.specials, num_threads, control)
    }

    /// As [`encode`](Self::encode), with only the special tokens in `specials` recognised: others are ordinary text.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_with(
        &self,
        text: &str,
        specials: &Recognised,
        num_threads: usize,
        control: &Control,
    ) -> Result<Vec<u32>> {
        if text.len() <= CHUNK_BYTES {
            return self.encode_short(text, specials, control);
        }
        control.begin("encode", text.len() as u64);
        let ranges = chunks(self.cutter(specials), text.as_bytes(), CHUNK_BYTES);
        let mut ids = Vec::new();
        // More than English comes to, less than Thai: what is not used is not touched.
        memory::reserve_by_guess(&mut ids, text.len() / 2 + 1);
        prefer_huge_pages(&mut ids);
        if num_threads == 1 {
            let mut cache = CacheGuard::new(self);
            for range in ranges {
                self.encode_chunk(text, range, specials, cache.cache(), &mut ids, control)?;
            }
            return Ok(ids);
        }
        parallel::for_each_in_order(
            num_threads,
            ranges.len(),
            || CacheGuard::new(self),
            |cache, index, chunk: &mut Vec<u32>| {
                chunk.clear();
                self.encode_chunk(text, ranges[index].clone(), specials, cache.cache(), chunk, control).map(drop)
            },
            |chunk| memory::append(&mut ids, chunk),
        )?;
        Ok(ids)
    }

    /// In memory that is kept for the next short text, and then copied: a guess of the length would leave a third of each
    /// array unused, and to touch new memory takes longer than to encode into old.
    fn encode_short(&self, text: &str, specials: &Recognised, control: &Control) -> Result<Vec<u32>> {
        let mut guard = CacheGuard::new(self);
        let cache = guard.cache();
        let mut scratch = std::mem::take(&mut cache.scratch);
        scratch.clear();
        self.encode_into(text, specials, cache, &mut scratch, control)?;
        let mut ids = memory::with_capacity(scratch.len())?;
        ids.extend_from_slice(&scratch);
        if scratch.capacity() <= MAX_SCRATCH {
            cache.scratch = scratch;
        }
        Ok(ids)
    }

    /// The ids of each text, as [`encode_with`](Self::encode_with) gives them.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_batch<S: AsRef<str> + Sync>(
        &self,
        texts: &[S],
        specials: &Recognised,
        num_threads: usize,
        control: &Control,
    ) -> Result<Vec<Vec<u32>>> {
        let num_bytes = texts.iter().map(|text| text.as_ref().len()).sum::<usize>();
        control.begin("encode", num_bytes as u64);
        // Starting a thread costs as much as encoding some kilobytes.
        let worthwhile = num_bytes / (CHUNK_BYTES / 16) + 1;
        let pieces = pieces(self.cutter(specials), texts)?;
        let parts = parallel::map(
            num_threads.min(worthwhile),
            pieces.len(),
            || CacheGuard::new(self),
            |cache, index| {
                let (text, range) = &pieces[index];
                let mut ids = Vec::new();
                self.encode_chunk(texts[*text].as_ref(), range.clone(), specials, cache.cache(), &mut ids, control)?;
                Ok(ids)
            },
        )?;

        let mut results: Vec<Vec<u32>> = memory::with_capacity(texts.len())?;
        results.resize_with(texts.len(), Vec::new);
        for ((text, _), ids) in pieces.iter().zip(parts) {
            let result = &mut results[*text];
            if result.is_empty() {
                *result = ids;
            } else {
                memory::reserve(result, ids.len())?;
                result.extend_from_slice(&ids);
            }
        }
        Ok(results)
    }

    /// The ids of all texts one after the other, and where each begins among them, and at last where all end.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_batch_together<S: AsRef<str> + Sync>(
        &self,
        texts: &[S],
        specials: &Recognised,
        num_threads: usize,
        control: &Control,
    ) -> Result<(Vec<u32>, Vec<usize>)> {
        let num_bytes = texts.iter().map(|text| text.as_ref().len()).sum::<usize>();
        control.begin("encode", num_bytes as u64);
        let mut starts: Vec<usize> = memory::filled(0, texts.len() + 1)?;
        let mut ids = Vec::new();
        memory::reserve_by_guess(&mut ids, num_bytes / 2 + 1);
        prefer_huge_pages(&mut ids);
        let pieces = pieces(self.cutter(specials), texts)?;
        let num_threads = num_threads.min(num_bytes / GROUP_BYTES + 1);
        if num_threads == 1 {
            let mut cache = CacheGuard::new(self);
            for (text, range) in pieces {
                self.encode_chunk(texts[text].as_ref(), range, specials, cache.cache(), &mut ids, control)?;
                starts[text + 1] = ids.len(); // that of a text's last piece remains
            }
            close_gaps(&mut starts);
            return Ok((ids, starts));
        }
        let groups = groups(pieces, GROUP_BYTES);
        parallel::for_each_in_order(
            num_threads,
            groups.len(),
            || CacheGuard::new(self),
            |cache, index, group: &mut Group| {
                group.clear();
                for (text, range) in &groups[index] {
                    let Group { ids, ends } = group;
                    self.encode_chunk(texts[*text].as_ref(), range.clone(), specials, cache.cache(), ids, control)?;
                    memory::push(ends, (*text, ids.len()))?;
                }
                Ok(())
            },
            |group| {
                let before = ids.len();
                memory::append(&mut ids, &group.ids)?;
                for &(text, end) in &group.ends {
                    starts[text + 1] = before + end;
                }
                Ok(())
            },
        )?;
        close_gaps(&mut starts);
        Ok((ids, starts))
    }

    /// Appends the ids of a document to `out`; the number of special tokens among them is returned.
    pub(crate) fn encode_document(
        &self,
        text: &str,
        specials: &Recognised,
        cache: &mut CacheGuard<'_>,
        out: &mut Vec<u32>,
        control: &Control,
    ) -> Result<u64> {
        if text.len() <= CHUNK_BYTES {
            return self.encode_into(text, specials, cache.cache(), out, control);
        }
        let mut num_special = 0;
        for range in chunks(self.cutter(specials), text.as_bytes(), CHUNK_BYTES) {
            control.check()?;
            num_special += self.encode_into(&text[range], specials, cache.cache(), out, control)?;
        }
        Ok(num_special)
    }

    /// Appends the ids of `text[range]` to `out`, unless cancelled; returns the number of special tokens among them.
    pub(super) fn encode_chunk(
        &self,
        text: &str,
        range: Range<usize>,
        specials: &Recognised,
        cache: &mut super::Cache,
        out: &mut Vec<u32>,
        control: &Control,
    ) -> Result<u64> {
        control.check()?;
        let num_special = self.encode_into(&text[range.clone()], specials, cache, out, control)?;
        control.advance(range.len() as u64);
        Ok(num_special)
    }
}

/// A text by its index, and a part of it.
type Piece = (usize, Range<usize>);

/// The ids of some pieces, and where those of each end, with the index of its text.
#[derive(Default)]
struct Group {
    ids: Vec<u32>,
    ends: Vec<(usize, usize)>,
}

impl Group {
    fn clear(&mut self) {
        self.ids.clear();
        self.ends.clear();
    }
}

/// A text without pieces, an empty one, ends where the one before it does.
fn close_gaps(starts: &mut [usize]) {
    for index in 1..starts.len() {
        starts[index] = starts[index].max(starts[index - 1]);
    }
}

/// Neighbouring pieces together until they have as many bytes.
fn groups(pieces: Vec<Piece>, num_bytes: usize) -> Vec<Vec<Piece>> {
    let mut groups: Vec<Vec<Piece>> = Vec::new();
    let mut room = 0;
    for piece in pieces {
        let length = piece.1.len();
        match groups.last_mut() {
            Some(group) if room > 0 => group.push(piece),
            _ => {
                room = num_bytes;
                groups.push(vec![piece]);
            }
        }
        room = room.saturating_sub(length.max(1));
    }
    groups
}

/// The texts by index, large ones in several pieces.
fn pieces<S: AsRef<str>>(cutter: Cutter<'_>, texts: &[S]) -> Result<Vec<Piece>> {
    let mut pieces = memory::with_capacity(texts.len())?;
    for (index, text) in texts.iter().enumerate() {
        for range in chunks(cutter, text.as_ref().as_bytes(), CHUNK_BYTES) {
            memory::push(&mut pieces, (index, range))?;
        }
    }
    Ok(pieces)
}
