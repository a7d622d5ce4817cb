//! Windows of a long pretoken, encoded side by side, and where they can be joined.
//!
//! One window after the other, each merge would wait for memory; side by side (see [`lockstep`](super::lockstep)) they
//! take a third of the time. The windows lie end to end, so that most of the tokens beside a seam are wrong. So the
//! text around each seam, from a border of tokens in the window before it to one in the window behind it, is encoded
//! too. Tokens that follow one another in an encoding fit one another, and that is all it takes to be right (see
//! [`windows`](super::windows)). So if the first token around the seam is one of the window before it, and the last is
//! one of the window behind it, all are right: those of the window up to the one that is shared, those around the seam,
//! and those of the other window from the shared one on. Nothing has to be compared but where these two tokens begin
//! and end, for a text that is one token of an encoding is the same one in all.

#![allow(clippy::inline_always)] // to be compiled for the kind of processor that the caller is compiled for

use std::ops::Range;

use super::lockstep::merge_words_in_place;
use super::merge::MergeTable;
use crate::error::Result;
use crate::memory::{reserve, resize};
use crate::raw::simd::{Instructions, Job, Simd};

/// The bytes of a window.
pub(super) const SPAN: usize = 32;
/// The windows of a row: as many as keep the processor busy, and so few that their ids stay close at hand.
const MAX_WINDOWS: usize = 128;
/// The bytes on both sides of a seam that are encoded again, at least. In a million random letters, 1 seam in 250 cannot
/// be joined then (cl100k); by 5 bytes 1 in 65, which takes as long again as it saves.
const REACH: usize = 6;
/// The bytes around most seams, at most. The merges of a shorter word take less time.
const NARROW: usize = 16;

/// Windows that lie end to end; buffers that are used again.
#[derive(Default)]
pub(super) struct Row {
    windows: Windows,
    /// What lies around the seam behind each window but the last.
    seams: Windows,
    ranges: Vec<(u16, Range<usize>)>,
}

impl Row {
    /// Encodes windows of the text from `start` on, which is not its end.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub(super) fn encode(&mut self, table: &MergeTable, text: &[u8], start: usize) -> Result<()> {
        let Self { windows, seams, ranges } = self;
        let end = text.len().min(start + MAX_WINDOWS * SPAN);
        reserve(ranges, MAX_WINDOWS.min((end - start).div_ceil(SPAN)))?;
        ranges.clear();
        ranges.extend((0..).zip((start..end).step_by(SPAN).map(|start| start..end.min(start + SPAN))));
        windows.clear(ranges.len())?;
        windows.encode::<SPAN>(table, text, ranges)?;

        seams.clear(windows.all.len() - 1)?;
        let pairs = windows.all.iter().zip(&windows.all[1..]);
        let around = |(left, right): (&Window, &Window)| {
            let seam = right.start;
            left.border_at_most(seam - REACH)..right.border_at_least(seam + REACH)
        };
        let is_narrow = |range: &Range<usize>| range.len() <= NARROW;
        ranges.clear();
        ranges.extend((0..).zip(pairs.clone().map(around)).filter(|(_, range)| is_narrow(range)));
        seams.encode::<NARROW>(table, text, ranges)?;
        let is_wide = |range: &Range<usize>| range.len() > NARROW && range.len() <= SPAN;
        ranges.clear();
        ranges.extend((0..).zip(pairs.map(around)).filter(|(_, range)| is_wide(range)));
        if ranges.is_empty() { Ok(()) } else { seams.encode::<SPAN>(table, text, ranges) }
    }

    pub(super) fn num_windows(&self) -> usize {
        self.windows.all.len()
    }

    /// Where the last window ends.
    pub(super) fn end(&self) -> usize {
        self.windows.all.last().map_or(0, Window::end)
    }

    /// Where a window begins.
    pub(super) fn start_of(&self, window: usize) -> usize {
        self.windows.all[window].start
    }

    /// The window that has this token beginning at this place.
    pub(super) fn window_with(&self, id: u32, at: usize) -> Option<usize> {
        let number = at.checked_sub(self.windows.all.first()?.start)? / SPAN;
        let window = self.windows.all.get(number)?;
        window.end_of_token_at(at)?;
        (self.windows.ids[window.index(at)] == id).then_some(number)
    }

    /// The ids of a window from one border of its tokens to another one.
    pub(super) fn ids(&self, window: usize, range: Range<usize>) -> &[u32] {
        self.windows.ids_of(&self.windows.all[window], range)
    }

    /// The last border between tokens of a window that leaves a third of it behind it; where the window begins, if need
    /// be.
    pub(super) fn border_well_inside(&self, window: usize) -> usize {
        let window = &self.windows.all[window];
        window.border_at_most(window.end() - SPAN.min(window.end() - window.start) / 3)
    }

    /// What joins a window and the next one, if that is known: where the token begins that stands at the end of the one,
    /// the ids from there on, and where the token begins, not among these, that stands at the beginning of the other.
    pub(super) fn joint(&self, window: usize) -> Option<(Range<usize>, &[u32])> {
        let (left, right) = (self.windows.all.get(window)?, self.windows.all.get(window + 1)?);
        let seam = self.seams.all.get(window)?;
        let range = seam.start..seam.last_token()?;
        let is_shared = seam.shares_token_at(left, range.start) && seam.shares_token_at(right, range.end);
        is_shared.then(|| (range.clone(), self.seams.ids_of(seam, range)))
    }
}

/// Encoded parts of a text.
#[derive(Default)]
struct Windows {
    all: Vec<Window>,
    ids: Vec<u32>,
}

/// Where a window has its tokens.
#[derive(Clone, Copy, Default)]
struct Window {
    start: usize,
    /// A bit for each place at which a token begins, counted from the start, and one for the end of the last one; none in
    /// what has not been encoded.
    borders: u64,
    first_id: usize,
}

impl Windows {
    /// So many, none of them encoded.
    fn clear(&mut self, number: usize) -> Result<()> {
        self.ids.clear();
        self.all.clear();
        resize(&mut self.all, number, Window::default())
    }

    /// Encodes numbered ranges of a text, each of 1 to `W` bytes.
    fn encode<const W: usize>(
        &mut self,
        table: &MergeTable,
        text: &[u8],
        ranges: &[(u16, Range<usize>)],
    ) -> Result<()> {
        reserve(&mut self.ids, W * ranges.len())?; // there are no more ids than bytes
        Instructions::best().run(Encode::<W> { windows: self, table, text, ranges });
        Ok(())
    }

    fn ids_of(&self, window: &Window, range: Range<usize>) -> &[u32] {
        &self.ids[window.index(range.start)..window.index(range.end)]
    }
}

impl Window {
    fn end(&self) -> usize {
        self.start + self.borders.checked_ilog2().unwrap_or(0) as usize
    }

    /// The end of the token that begins at `at`.
    #[inline]
    fn end_of_token_at(&self, at: usize) -> Option<usize> {
        let borders = self.borders.checked_shr(at.checked_sub(self.start)? as u32)?;
        let behind = borders & !1;
        (borders & 1 != 0 && behind != 0).then(|| at + behind.trailing_zeros() as usize)
    }

    /// Where the last token begins.
    #[inline]
    fn last_token(&self) -> Option<usize> {
        let end = self.borders.checked_ilog2()?;
        Some(self.start + (self.borders ^ 1 << end).checked_ilog2()? as usize)
    }

    #[inline]
    fn shares_token_at(&self, other: &Self, at: usize) -> bool {
        self.end_of_token_at(at).is_some_and(|end| other.end_of_token_at(at) == Some(end))
    }

    /// The last border up to `at`, which lies in the window.
    #[inline]
    fn border_at_most(&self, at: usize) -> usize {
        let borders = self.borders & ((2 << (at - self.start)) - 1);
        self.start + borders.checked_ilog2().unwrap_or(0) as usize
    }

    /// The first border from `at` on, or the last one.
    #[inline]
    fn border_at_least(&self, at: usize) -> usize {
        let borders = self.borders >> (at - self.start);
        if borders == 0 { self.end() } else { at + borders.trailing_zeros() as usize }
    }

    /// The number of the id that begins at a border.
    #[inline]
    fn index(&self, border: usize) -> usize {
        let before = self.borders & ((1 << (border - self.start)) - 1);
        self.first_id + before.count_ones() as usize
    }
}

/// What is done with a row, compiled for each set of instructions.
struct Encode<'a, const W: usize> {
    windows: &'a mut Windows,
    table: &'a MergeTable,
    text: &'a [u8],
    ranges: &'a [(u16, Range<usize>)],
}

impl<const W: usize> Job for Encode<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { windows: Windows { all, ids }, table, text, ranges } = self;
        for (number, range) in ranges {
            all[usize::from(*number)] = Window { start: range.start, borders: 1 << range.len(), first_id: 0 };
        }
        let words = ranges.iter().map(|(number, range)| (*number, word_at::<W>(text, range)));
        merge_words_in_place(simd, table, words, |number, starts, more| {
            let window = &mut all[usize::from(number)];
            window.first_id = ids.len();
            window.borders |= u64::from(starts);
            ids.extend_from_slice(more);
        });
    }
}

/// The bytes of a range, and any others behind them; their number.
#[inline(always)]
fn word_at<const W: usize>(text: &[u8], range: &Range<usize>) -> ([u8; W], usize) {
    let bytes = text[range.start..].first_chunk().copied().unwrap_or_else(|| {
        let mut bytes = [0; W];
        bytes[..range.len()].copy_from_slice(&text[range.clone()]);
        bytes
    });
    (bytes, range.len())
}

/// Merges and texts in which windows depend on one another in all ways.
#[cfg(test)]
pub(super) mod testing {
    use proptest::prelude::*;

    use super::*;

    /// Merges of older symbols at random, each pair once, over the bytes 0 to 2; and the length of what each symbol
    /// stands for.
    pub(in crate::encode) fn merges_of(choices: &[(u32, u32)]) -> (MergeTable, Vec<usize>) {
        let (mut pairs, mut lengths) = (Vec::new(), vec![1; 256]);
        for &(left, right) in choices {
            let num_symbols = 3 + pairs.len() as u32;
            let symbol = |choice: u32| match choice % num_symbols {
                byte @ 0..3 => byte,
                product => 253 + product,
            };
            let pair = (symbol(left), symbol(right));
            if !pairs.contains(&pair) {
                pairs.push(pair);
                lengths.push(lengths[pair.0 as usize] + lengths[pair.1 as usize]);
            }
        }
        (MergeTable::of_symbols(&pairs).unwrap(), lengths)
    }

    /// At random, and of parts that are repeated some times; most of some windows, some of several rows.
    pub(in crate::encode) fn texts(alphabet: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
        let letters = |length| prop::collection::vec(prop::sample::select(alphabet), length);
        let repeated = (letters(1..7), 1_usize..60).prop_map(|(part, times)| part.repeat(times));
        prop_oneof![
            6 => letters(1..400),
            6 => prop::collection::vec(repeated, 1..8).prop_map(|parts| parts.concat()),
            1 => letters(MAX_WINDOWS * SPAN - 40..2 * MAX_WINDOWS * SPAN + 100),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::{merges_of, texts};
    use super::*;
    use crate::Control;

    fn encoded(table: &MergeTable, text: &[u8]) -> Vec<u32> {
        let mut ids = Vec::new();
        table.encode(text, &mut ids, &Control::new()).unwrap();
        ids
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn joined_windows_come_to_what_they_come_to_together(
            choices in prop::collection::vec((any::<u32>(), any::<u32>()), 0..40), text in texts(b"\0\x01\x02"),
            start: prop::sample::Index,
        ) {
            let (table, _) = merges_of(&choices);
            let mut row = Row::default();
            row.encode(&table, &text, start.index(text.len())).unwrap();
            for window in 0..row.num_windows() {
                let Window { start, .. } = row.windows.all[window];
                let end = row.windows.all[window].end();
                prop_assert_eq!(row.ids(window, start..end), encoded(&table, &text[start..end]));
                let Some((joint, ids)) = row.joint(window) else { continue };
                let next_end = row.windows.all[window + 1].end();
                let joined = [row.ids(window, start..joint.start), ids, row.ids(window + 1, joint.end..next_end)];
                prop_assert_eq!(joined.concat(), encoded(&table, &text[start..next_end]));
            }
        }
    }

    #[test]
    fn most_windows_of_text_without_structure_are_joined() {
        let choices: Vec<(u32, u32)> = (0..40_u32).map(|number| (number * 7 + 1, number * 5 + 2)).collect();
        let (table, _) = merges_of(&choices);
        let mut random = 1_u64;
        let letters = std::iter::repeat_with(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as u8 % 3
        });
        let text: Vec<u8> = letters.take(MAX_WINDOWS * SPAN).collect();
        let mut row = Row::default();
        row.encode(&table, &text, 0).unwrap();
        let num_joined = (0..MAX_WINDOWS).filter(|&window| row.joint(window).is_some()).count();
        assert!(num_joined > MAX_WINDOWS * 3 / 4, "{num_joined}");
    }
}
