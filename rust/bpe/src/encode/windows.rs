//! A long pretoken through windows, in time that grows with its length for all but contrived merges.
//!
//! It rests on a fact about merges in any order: *if every token fits its neighbour, all are right.* Let `t1 ... tn` be
//! tokens such that the ids of `ti` and `ti+1` together are just these two, for each `i`. Then they are the ids of the
//! whole. For the first merge to cross from one `ti` into the next would be the lowest in the text of the two alone,
//! too, as all that came before it happened within tokens; so it would cross there. For the same reason, some successive
//! ids of a text are the ids of what they stand for.
//!
//! So the ids of any window onto the pretoken may be taken over, however many or few, as long as the first of them fits
//! the last one before it. Windows are encoded [side by side](super::side_by_side), and joined by what lies around their
//! seams. Where that does not do, one window after the other is: its ids are taken over but for the last ones, which
//! might change with what follows; the next window begins where these do, and its first id must fit the last one taken
//! over. That is the way, too, for what repeats itself: a window that shows the same again is not encoded again.

use super::lane::MAX_SYMBOLS;
use super::merge::MergeTable;
use super::side_by_side::{Row, SPAN};
use crate::control::Control;
use crate::error::Result;
use crate::memory::append;

/// The bytes of a window at first.
const FIRST_WINDOW: usize = MAX_SYMBOLS;
/// When that many bytes are one token, or have to be encoded again because of what follows them, it takes too long.
const LAST_WINDOW: usize = 1 << 10;
/// After a row most of whose windows could not be joined, as where tokens are long, that many times its length goes through
/// one window after the other.
const PATIENCE: usize = 8;

/// Appends the ids of a long pretoken.
///
/// # Errors
/// As [`MergeTable::encode`].
pub(super) fn encode_through_windows(
    table: &MergeTable,
    length_of: impl Fn(u32) -> usize,
    pretoken: &[u8],
    out: &mut Vec<u32>,
    control: &Control,
) -> Result<()> {
    if pretoken.len() <= MAX_SYMBOLS {
        return table.encode(pretoken, out, control);
    }
    let mut row = Row::default();
    let window = Window { size: FIRST_WINDOW, more: 0, shown: &[], ids: Vec::new(), certain: (0, 0), fitting: None };
    let mut taken = Taken { table, length_of, pretoken, control, first: out.len(), out, at: 0, rows_from: 0, window };
    while taken.at < pretoken.len() {
        if taken.window.more == 0 && taken.at >= taken.rows_from && !taken.repeats_itself() {
            taken.take_row(&mut row)?;
        } else {
            while taken.take_window()? {}
        }
    }
    Ok(())
}

/// The ids of a pretoken so far, each of which fits the next one.
struct Taken<'a, L> {
    table: &'a MergeTable,
    length_of: L,
    pretoken: &'a [u8],
    control: &'a Control,
    out: &'a mut Vec<u32>,
    /// The number of the first one in `out`.
    first: usize,
    /// Where the last one ends.
    at: usize,
    /// From where on a row of windows is tried again.
    rows_from: usize,
    window: Window<'a>,
}

/// The window where there is one after the other.
struct Window<'a> {
    size: usize,
    /// The bytes that had been taken over and did depend on what comes after them.
    more: usize,
    /// What it showed, what that came to, and how many of these ids might be taken over, and the bytes of these.
    shown: &'a [u8],
    ids: Vec<u32>,
    certain: (usize, usize),
    /// Two tokens that fit each other.
    fitting: Option<(u32, u32)>,
}

impl<L: Fn(u32) -> usize> Taken<'_, L> {
    fn last(&self) -> Option<u32> {
        self.out[self.first..].last().copied()
    }

    /// Whether what comes next is the same twice, or too short to be so.
    fn repeats_itself(&self) -> bool {
        let Some((next, rest)) = self.pretoken[self.at..].split_first_chunk::<SPAN>() else { return true };
        rest.first_chunk() == Some(next)
    }

    /// Takes over the ids of a row of windows, of which there are at least two.
    fn take_row(&mut self, row: &mut Row) -> Result<()> {
        self.control.check()?;
        // It begins with the last token, to be joined by it.
        let last = self.last();
        let start = self.at - last.map_or(0, &self.length_of);
        row.encode(self.table, self.pretoken, start)?;
        let mut joined = match last {
            None => Some(0),
            Some(last) if row.window_with(last, start) == Some(0) => {
                self.give_back(last);
                Some(0)
            }
            Some(_) => self.catch_up(row, 0)?,
        };
        let mut num_joined = 0;
        while let Some(window) = joined {
            joined = if self.take_to_next(row, window)? {
                num_joined += 1;
                Some(window + 1)
            } else {
                self.take_well_inside(row, window)?;
                if window + 1 < row.num_windows() { self.catch_up(row, window + 1)? } else { None }
            };
        }
        if num_joined < row.num_windows() / 2 {
            self.rows_from = self.at + PATIENCE * (self.at - start);
        }
        Ok(())
    }

    /// Takes over the ids from a window, which has the token that comes next, to the next window, for which the same is
    /// true then; returns whether the two are joined.
    fn take_to_next(&mut self, row: &Row, window: usize) -> Result<bool> {
        let Some((joint, ids)) = row.joint(window).filter(|(joint, _)| self.at <= joint.start) else {
            return Ok(false);
        };
        append(self.out, row.ids(window, self.at..joint.start))?;
        append(self.out, ids)?;
        self.at = joint.end;
        Ok(true)
    }

    /// Takes over the ids of a window, which has the token that comes next, but for the last ones, which might change
    /// with what follows.
    fn take_well_inside(&mut self, row: &Row, window: usize) -> Result<()> {
        let is_end = window + 1 == row.num_windows() && row.end() == self.pretoken.len();
        let end = if is_end { row.end() } else { row.border_well_inside(window).max(self.at) };
        append(self.out, row.ids(window, self.at..end))?;
        self.at = end;
        Ok(())
    }

    /// Takes over one window after the other until the last token is one of a row's, at least as far on as the window
    /// numbered `from`, and gives that back; returns the number of its window, none if the row ends before.
    fn catch_up(&mut self, row: &Row, from: usize) -> Result<Option<usize>> {
        while self.at < row.end() {
            self.take_window()?;
            if self.window.more > 0 {
                continue;
            }
            let Some(last) = self.last() else { continue };
            let start = self.at - (self.length_of)(last);
            if start < row.start_of(from) {
                continue;
            }
            if let Some(window) = row.window_with(last, start) {
                self.give_back(last);
                return Ok(Some(window));
            }
        }
        Ok(None)
    }

    /// Takes the last token back.
    fn give_back(&mut self, last: u32) {
        self.out.pop();
        self.at -= (self.length_of)(last);
    }

    /// Takes over some ids of a window of its own; returns whether it showed the same as the one before and
    /// may do so again.
    fn take_window(&mut self) -> Result<bool> {
        let Self { table, pretoken, control, at, .. } = *self;
        let Window { size, more, shown, .. } = self.window;
        control.check()?;
        if size + more > LAST_WINDOW {
            self.out.truncate(self.first);
            self.at = pretoken.len();
            table.encode(pretoken, self.out, control)?;
            return Ok(false);
        }
        let shows = &pretoken[at..pretoken.len().min(at + size + more)];
        let is_same = shows == shown;
        if !is_same {
            self.window.ids.clear();
            table.encode(shows, &mut self.window.ids, control)?;
            self.window.shown = shows;
            self.window.certain = self.up_to(shows.len() - shows.len() / 3);
        }
        if let Some(left) = self.last()
            && !self.fits(left, self.window.ids[0])?
        {
            // It did depend on what comes after it.
            self.give_back(left);
            self.window.more += at - self.at;
            return Ok(false);
        }
        self.window.more = 0;
        let is_end = at + shows.len() == pretoken.len();
        let (num_ids, num_bytes) = if is_end { (self.window.ids.len(), shows.len()) } else { self.window.certain };
        if num_ids == 0 {
            self.window.size *= 2;
        }
        append(self.out, &self.window.ids[..num_ids])?;
        self.at += num_bytes;
        Ok(is_same && !is_end)
    }

    /// How many ids of the window end within so many bytes, and the bytes of these.
    fn up_to(&self, limit: usize) -> (usize, usize) {
        let (mut num_ids, mut num_bytes) = (0, 0);
        for &id in &self.window.ids {
            let end = num_bytes + (self.length_of)(id);
            if end > limit {
                break;
            }
            num_bytes = end;
            num_ids += 1;
        }
        (num_ids, num_bytes)
    }

    /// Whether the ids of the text of two tokens, which meet here, are just these.
    fn fits(&mut self, left: u32, right: u32) -> Result<bool> {
        if self.window.fitting == Some((left, right)) {
            return Ok(true);
        }
        let (start, end) = (self.at - (self.length_of)(left), self.at + (self.length_of)(right));
        let mut ids = Vec::new();
        self.table.encode(&self.pretoken[start..end], &mut ids, self.control)?;
        let fits = ids == [left, right];
        if fits {
            self.window.fitting = Some((left, right));
        }
        Ok(fits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encode::merge::testing::{MERGES, table};
    use crate::encode::side_by_side::testing::{merges_of, texts};

    /// By windows and at once.
    fn both_ways(table: &MergeTable, lengths: &[usize], pretoken: &[u8]) -> [Vec<u32>; 2] {
        let (mut by_windows, mut at_once) = (vec![7], vec![7]);
        let control = Control::new();
        encode_through_windows(table, |id| lengths[id as usize], pretoken, &mut by_windows, &control).unwrap();
        table.encode(pretoken, &mut at_once, &control).unwrap();
        [by_windows, at_once]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn windows_come_to_what_the_whole_comes_to(
            choices in prop::collection::vec((any::<u32>(), any::<u32>()), 0..40), pretoken in texts(b"\0\x01\x02"),
        ) {
            let (table, lengths) = merges_of(&choices);
            let [by_windows, at_once] = both_ways(&table, &lengths, &pretoken);
            prop_assert_eq!(by_windows, at_once);
        }

        #[test]
        fn so_they_do_where_several_merges_make_one_token(
            order in Just([MERGES, &[("b", "b"), ("c", "a")]].concat()).prop_shuffle(), pretoken in texts(b"abc"),
        ) {
            let mut lengths = vec![1; 256];
            let mut products = Vec::new();
            for product in order.iter().map(|(left, right)| [*left, *right].concat()) {
                if !products.contains(&product) {
                    lengths.push(product.len());
                    products.push(product);
                }
            }
            let [by_windows, at_once] = both_ways(&table(&order).unwrap(), &lengths, &pretoken);
            prop_assert_eq!(by_windows, at_once);
        }
    }

    #[test]
    fn tokens_of_any_length_are_found() {
        // Of one letter, 1, 2, 4, ... of them.
        let mut choices = vec![(0, 0)];
        choices.extend((3..16).map(|symbol| (symbol, symbol)));
        let (table, lengths) = merges_of(&choices);
        assert_eq!(lengths.last(), Some(&(1 << 14)));
        for length in [65, 127, 1_000, 1 << 14, 40_001] {
            let mut pretoken = vec![0; length];
            let [by_windows, at_once] = both_ways(&table, &lengths, &pretoken);
            assert_eq!(by_windows, at_once);
            pretoken[length / 3] = 1;
            let [by_windows, at_once] = both_ways(&table, &lengths, &pretoken);
            assert_eq!(by_windows, at_once);
        }
    }

    #[test]
    fn rows_that_cannot_be_joined_are_given_up_for_a_while() {
        let choices: Vec<(u32, u32)> = [(0, 0)].into_iter().chain((3..9).map(|symbol| (symbol, symbol))).collect();
        let (table, lengths) = merges_of(&choices);
        let mut random = 1_u64;
        let mut draw = |limit: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % limit
        };
        let mut pretoken = Vec::new();
        for part in 0..6 {
            // Runs of many lengths, and for as long runs of none.
            while pretoken.len() < (part + 1) * 30_000 {
                let length = if part % 2 == 0 { draw(60) } else { draw(3) };
                pretoken.extend(std::iter::repeat_n(0, length as usize));
                pretoken.push(draw(3) as u8);
            }
        }
        let [by_windows, at_once] = both_ways(&table, &lengths, &pretoken);
        assert_eq!(by_windows, at_once);
    }

    #[test]
    fn whoever_cancels_does_not_wait_for_the_end() {
        let control = Control::new();
        control.cancel();
        let (table, lengths) = merges_of(&[(0, 1)]);
        let without_structure = (0..1_000_u32).map(|number| (number * number % 7 % 3) as u8).collect();
        for pretoken in [vec![0; 1_000], without_structure] {
            let length_of = |id: u32| lengths[id as usize];
            let encoded = encode_through_windows(&table, length_of, &pretoken, &mut Vec::new(), &control);
            assert!(matches!(encoded, Err(crate::Error::Interrupted)));
        }
    }
}
