//! The ends of pretokens by bit masks, 64 bytes at a time, for all patterns that are scanned by hand.
//!
//! A pattern says where pretokens start in a block: from the classes of neighbouring characters that follows for all
//! 64 bytes at once. Where it does not follow, because it depends on what stands far away, the pattern says so;
//! then the pretokens there are found one character at a time, and the blocks begin anew behind them. That is exact,
//! as no pattern looks at what stands before a pretoken.

#![allow(clippy::inline_always, reason = "what is not inlined into the job is compiled without its instructions")]

use crate::error::Result;
use crate::raw::simd::{BLOCK, Instructions, Job, Simd};

/// The ends of successive pretokens.
pub(crate) type Ends = [usize; MAX_ENDS];

/// The most ends that are told at once.
pub(crate) const MAX_ENDS: usize = 256;

/// Where the pretokens of a pattern start.
pub(super) trait Rules: Copy {
    /// The classes of 64 bytes.
    type Block: Copy;
    /// What is to be known of all that stands before a block; by default a pretoken starts with it.
    type Before: Default;

    /// The block before the first.
    const NOTHING: Self::Block;

    /// The block at `at`, where a character begins, filled up behind the end of the text.
    fn load<S: Simd>(self, simd: S, text: &[u8], at: usize) -> Self::Block;

    /// How many bytes of the text a block stands for.
    fn length(block: &Self::Block) -> u32;

    /// Where pretokens start in the block at `at`, which is not empty.
    fn starts(
        self,
        text: &[u8],
        at: usize,
        block: &Self::Block,
        after: &Self::Block,
        before: &mut Self::Before,
    ) -> Starts;

    /// Where the pretoken that starts at `start` ends, one character at a time. `start < text.len()`.
    fn pretoken_end(self, text: &[u8], start: usize) -> usize;
}

/// Where pretokens start in a block.
pub(super) struct Starts {
    /// The places.
    pub(super) certain: u64,
    /// From the lowest of these on they may be wrong.
    pub(super) doubtful: u64,
}

/// Calls `visit` with the ends of the pretokens of `text` from `start` on, in order and some at a time. `text` is valid
/// UTF-8, and a pretoken starts at `start`.
///
/// # Errors
/// Those of `visit`.
pub(super) fn for_each_batch<R: Rules>(
    rules: R,
    instructions: Instructions,
    text: &[u8],
    start: usize,
    ends: &mut Ends,
    visit: &mut dyn FnMut(&[usize]) -> Result<()>,
) -> Result<()> {
    instructions.run(Scan { rules, text, start, ends: Batch { ends, length: 0, told: start, visit } })
}

struct Scan<'a, R> {
    rules: R,
    text: &'a [u8],
    /// Where a pretoken starts.
    start: usize,
    ends: Batch<'a>,
}

impl<R: Rules> Job for Scan<'_, R> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> Result<()> {
        while self.start < self.text.len() {
            self.start = self.scan_blocks(simd)?;
        }
        self.ends.tell()
    }
}

impl<R: Rules> Scan<'_, R> {
    /// Goes through the blocks from `start` on, to the end of the text or to one that is in doubt. Returns where it
    /// stopped, which is the end of a pretoken.
    #[inline(always)]
    fn scan_blocks<S: Simd>(&mut self, simd: S) -> Result<usize> {
        let Self { rules, text, start, ends } = self;
        let mut before = R::Before::default();
        let (mut at, mut block) = (*start, R::NOTHING);
        loop {
            let next = at + R::length(&block) as usize;
            let after = rules.load(simd, text, next);
            if next > at {
                let Starts { mut certain, mut doubtful } = rules.starts(text, at, &block, &after, &mut before);
                if next - at < BLOCK {
                    let is_text = (1 << (next - at)) - 1;
                    (certain, doubtful) = (certain & is_text, doubtful & is_text);
                }
                if at == *start {
                    certain &= !1; // it is the end of nothing that has not been told
                }
                if doubtful != 0 {
                    certain &= (doubtful & doubtful.wrapping_neg()) - 1;
                    ends.push_places(simd, certain, at)?;
                    return ends
                        .push_beyond(at + doubtful.trailing_zeros() as usize, |at| rules.pretoken_end(text, at));
                }
                ends.push_places(simd, certain, at)?;
                if next == text.len() {
                    ends.push(next)?;
                    return Ok(next);
                }
            }
            (at, block) = (next, after);
        }
    }
}

/// The ends that have been found and not yet told.
struct Batch<'a> {
    ends: &'a mut Ends,
    length: usize,
    /// The last one told, or where the first pretoken starts.
    told: usize,
    visit: &'a mut dyn FnMut(&[usize]) -> Result<()>,
}

impl Batch<'_> {
    #[inline(always)]
    fn push_places<S: Simd>(&mut self, simd: S, mask: u64, base: usize) -> Result<()> {
        let free = self.ends.get_mut(self.length..).and_then(|free| free.first_chunk_mut());
        simd.write_places(mask, base, free.expect("told before there is no room for a block"));
        self.length += mask.count_ones() as usize;
        self.tell_if_full()
    }

    #[inline(always)]
    fn push(&mut self, end: usize) -> Result<()> {
        self.ends[self.length] = end;
        self.length += 1;
        self.tell_if_full()
    }

    /// Finds pretokens one by one until one ends behind `last`; returns its end.
    #[inline(never)]
    fn push_beyond(&mut self, last: usize, pretoken_end: impl Fn(usize) -> usize) -> Result<usize> {
        let mut end = if self.length == 0 { self.told } else { self.ends[self.length - 1] };
        while end <= last {
            end = pretoken_end(end);
            self.push(end)?;
        }
        Ok(end)
    }

    #[inline(always)]
    fn tell_if_full(&mut self) -> Result<()> {
        if self.length > MAX_ENDS - BLOCK { self.tell() } else { Ok(()) }
    }

    #[inline(never)]
    fn tell(&mut self) -> Result<()> {
        let ends = &self.ends[..std::mem::take(&mut self.length)];
        let Some(&last) = ends.last() else { return Ok(()) };
        self.told = last;
        (self.visit)(ends)
    }
}
