//! Distinct pretokens and how often each occurs.

use std::ops::Range;

use super::long::LongCounts;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::raw::zeroed::{CacheLines, Zeroed};
use crate::split::Segment;
use crate::split::cut::Cutter;
use crate::split::scan::MAX_ENDS;
use crate::{parallel, raw, word_key};

/// Open addressing over packed keys for short pretokens, another table for the rare long ones.
///
/// Keys are spread over a table by the last bits of their hashes. Those that end alike lie at equal distances whatever
/// the size of the table is: tables of several threads are merged in such parts, each by a thread of its own.
#[derive(Debug)]
pub(crate) struct CountTable {
    /// A power of two. On huge pages: the memory that is asked for ahead comes late if its address is looked up first.
    buckets: Zeroed<Bucket>,
    /// The bucket of a key is its hash shifted right by this; 0 but for tables that hold one part of all hashes.
    shift: u32,
    num_short: usize,
    long: LongCounts<u8>,
}

/// Keys and counts: two ways to go for a key before the next bucket is tried. Filled from the first on; key 0 marks a
/// free one.
type Bucket = CacheLines<([u128; 2], [u64; 2])>;

impl CountTable {
    const INITIAL_BUCKETS: usize = 1 << 11;

    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn new() -> Result<Self> {
        Self::with_buckets(Self::INITIAL_BUCKETS, 0)
    }

    fn with_buckets(num_buckets: usize, shift: u32) -> Result<Self> {
        let refused = || Error::OutOfMemory(num_buckets * size_of::<Bucket>());
        let buckets = Zeroed::new(num_buckets).ok_or_else(refused)?;
        Ok(Self { buckets, shift, num_short: 0, long: LongCounts::default() })
    }

    /// Adds `weight` to the count of each pretoken of a text.
    ///
    /// # Errors
    /// Those of a regular expression, [`Error::OutOfMemory`] and [`Error::Interrupted`].
    pub(crate) fn add_text(&mut self, text: &str, weight: u64, cutter: Cutter<'_>, control: &Control) -> Result<()> {
        // The whole text rather than the segment: more of the pretokens can be packed with a single load.
        let mut counter = Counter::new(self, weight, text.as_bytes());
        let mut ends = [0; MAX_ENDS];
        cutter.specials.for_each_segment(text, |segment| match segment {
            Segment::Special(_) => Ok(()),
            Segment::Text(offset, segment) => {
                counter.start = offset;
                cutter.pattern.for_each_batch(text, offset..offset + segment.len(), &mut ends, |ends| {
                    counter.add_all(ends)?;
                    control.check()
                })
            }
        })
    }

    /// Adds `weight` to the count of the non-empty pretoken `text[range]`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn add(&mut self, text: &[u8], range: Range<usize>, weight: u64) -> Result<()> {
        match word_key::pack(text, &range) {
            Some(key) => self.add_short(key, self.bucket_of(word_key::hash(key)), weight),
            None => self.long.add(&text[range], weight),
        }
    }

    #[inline]
    fn bucket_of(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize & (self.buckets.len() - 1)
    }

    #[inline]
    fn add_short(&mut self, key: u128, at: usize, weight: u64) -> Result<()> {
        let CacheLines((keys, counts)) = &mut self.buckets[at];
        // Without a branch on which of the two it is: that would be guessed wrong half of the time.
        let second = usize::from(keys[1] == key);
        if keys[second] == key {
            counts[second] += weight;
            Ok(())
        } else {
            self.add_displaced(key, at, weight)
        }
    }

    /// The key is new, or in a bucket after its own.
    fn add_displaced(&mut self, key: u128, mut at: usize, weight: u64) -> Result<()> {
        // Five eighths full: a key lies in its own bucket but for one in ten.
        let is_full = self.num_short * 4 >= self.buckets.len() * 5;
        loop {
            let CacheLines((keys, counts)) = &mut self.buckets[at];
            for slot in 0..2 {
                if keys[slot] == key || keys[slot] == 0 {
                    if keys[slot] == 0 {
                        if is_full {
                            self.grow()?;
                            return self.add_displaced(key, self.bucket_of(word_key::hash(key)), weight);
                        }
                        self.num_short += 1;
                    }
                    keys[slot] = key;
                    counts[slot] += weight;
                    return Ok(());
                }
            }
            at = (at + 1) & (self.buckets.len() - 1);
        }
    }

    #[cold]
    fn grow(&mut self) -> Result<()> {
        let mut larger = Self::with_buckets(self.buckets.len() * 2, self.shift)?;
        for CacheLines((keys, counts)) in self.buckets.iter() {
            for (&key, &count) in keys.iter().zip(counts) {
                if key != 0 {
                    larger.add_short(key, larger.bucket_of(word_key::hash(key)), count)?;
                }
            }
        }
        self.buckets = larger.buckets;
        Ok(())
    }

    /// The number of distinct pretokens.
    pub(crate) fn len(&self) -> usize {
        self.num_short + self.long.len()
    }

    /// The memory it takes when it grows the next time, if that is near: what it has, and twice as much beside it.
    pub(crate) fn bytes_to_grow(&self) -> usize {
        let short = size_of_val(&self.buckets[..]);
        // It grows at five eighths; a chunk of text that is counted between two looks may well add the last eighth.
        let is_near = self.num_short * 2 > self.buckets.len();
        short * if is_near { 3 } else { 1 } + 2 * self.long.size_bytes()
    }

    /// Calls `visit` with every pretoken and its count, in no particular order.
    ///
    /// # Errors
    /// Those of `visit`.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&[u8], u64) -> Result<()>) -> Result<()> {
        for CacheLines((keys, counts)) in self.buckets.iter() {
            for (&key, &count) in keys.iter().zip(counts) {
                if key != 0 {
                    let (bytes, length) = word_key::unpack(key);
                    visit(&bytes[..length], count)?;
                }
            }
        }
        self.long.for_each(visit)
    }

    /// Adds the counts of the pretokens whose hashes lie in the part `index` of `1 << log_parts` equal parts.
    fn add_part(&mut self, other: &Self, index: usize, log_parts: u32) -> Result<()> {
        debug_assert_eq!(other.shift, 0, "it holds parts of all hashes");
        let num_buckets = other.buckets.len();
        let num_parts = 1 << log_parts;
        for home in (0..num_buckets >> log_parts).map(|number| index + num_parts * number) {
            // Where the bucket is full, its keys went on into those behind. Of these, the next that is another home has
            // its turn later.
            for at in home..home + num_parts {
                let CacheLines((keys, counts)) = &other.buckets[at & (num_buckets - 1)];
                for (&key, &count) in keys.iter().zip(counts) {
                    let hash = word_key::hash(key);
                    if key != 0 && part_of(hash, log_parts) == index {
                        self.add_short(key, self.bucket_of(hash), count)?;
                    }
                }
                let is_full = keys[1] != 0;
                if !is_full {
                    break;
                }
            }
        }
        self.long.add_all(&other.long, |hash| part_of(hash, log_parts) == index)
    }

    /// Adds tables up, on several threads where they are large: no pretoken is in two of the tables returned. They are
    /// for reading only.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn merge_all(mut tables: Vec<Self>, num_threads: usize) -> Result<Vec<Self>> {
        if tables.len() < 2 {
            return Ok(tables);
        }
        // Few are added to the largest of them sooner than all are put into new tables: 5 instead of 35 ms for two of
        // 200,000 pretokens.
        let num_pretokens: usize = tables.iter().map(Self::len).sum();
        let max_parts = Self::INITIAL_BUCKETS.min(num_pretokens >> 12).max(1);
        let log_parts = num_threads.min(max_parts).next_power_of_two().ilog2();
        if log_parts == 0 || tables.len() <= MAX_ADDED_BY_ONE {
            tables.sort_unstable_by_key(Self::len);
            let mut all = tables.pop().expect("there are two");
            for table in tables {
                all.add_part(&table, 0, 0)?;
            }
            return Ok(vec![all]);
        }
        let tables = &tables;
        let add_up = |(): &mut (), index| {
            // All hashes of the part end alike.
            let mut sum = Self::with_buckets(Self::INITIAL_BUCKETS, log_parts)?;
            for table in tables {
                sum.add_part(table, index, log_parts)?;
            }
            Ok(sum)
        };
        parallel::map(num_threads, 1 << log_parts, || (), add_up)
    }
}

/// The number of tables up to which one thread adds them up.
const MAX_ADDED_BY_ONE: usize = 4;

/// The part, of `1 << log_parts` equal ones, that a hash lies in.
fn part_of(hash: u64, log_parts: u32) -> usize {
    hash as usize & ((1 << log_parts) - 1)
}

/// The pretokens that wait for their memory at the same time.
const WAITING: usize = 64;

/// Adds pretokens of one text to a table, a few at a time: while the keys of the next ones are made, the memory that the
/// first of them will be counted in is on its way.
struct Counter<'a> {
    table: &'a mut CountTable,
    /// Each pretoken counts so many times.
    weight: u64,
    text: &'a [u8],
    /// Where the next pretoken starts.
    start: usize,
    /// Keys and their hashes.
    waiting: [(u128, u64); WAITING],
}

impl<'a> Counter<'a> {
    fn new(table: &'a mut CountTable, weight: u64, text: &'a [u8]) -> Self {
        Self { table, weight, text, start: 0, waiting: [(0, 0); WAITING] }
    }

    /// Counts the pretokens from where the last one ended, by their ends.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    fn add_all(&mut self, ends: &[usize]) -> Result<()> {
        for ends in ends.chunks(WAITING) {
            // The table is not one of a part of all hashes: the last bits of a hash are the bucket's.
            let mask = self.table.buckets.len() - 1;
            let mut num_waiting = 0;
            for &end in ends {
                let range = std::mem::replace(&mut self.start, end)..end;
                let Some(key) = word_key::pack(self.text, &range) else {
                    self.table.long.add(&self.text[range], self.weight)?;
                    continue;
                };
                let hash = word_key::hash(key);
                // `get` rather than indices: nothing can panic here.
                if let Some(bucket) = self.table.buckets.get(hash as usize & mask) {
                    raw::prefetch(bucket);
                }
                if let Some(next) = self.waiting.get_mut(num_waiting) {
                    *next = (key, hash);
                }
                num_waiting += 1;
            }
            for &(key, hash) in &self.waiting[..num_waiting] {
                self.table.add_short(key, hash as usize & (self.table.buckets.len() - 1), self.weight)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn counts_of(tables: &[CountTable]) -> HashMap<Vec<u8>, u64> {
        let mut found = HashMap::new();
        for table in tables {
            let mut num_here = 0;
            let counted = table.for_each(|pretoken, count| {
                num_here += 1;
                assert!(found.insert(pretoken.to_vec(), count).is_none(), "in two places");
                Ok(())
            });
            counted.unwrap();
            assert_eq!(num_here, table.len());
        }
        found
    }

    proptest! {
        #[test]
        fn counts_as_a_plain_map_does(
            pretokens in prop::collection::vec((prop::collection::vec(0_u8..3, 1..20), 1_u64..1 << 40), 0..200),
            num_tables in 1_usize..4,
            num_threads in 1_usize..4,
        ) {
            let mut expected: HashMap<Vec<u8>, u64> = HashMap::new();
            let mut tables: Vec<CountTable> = (0..num_tables).map(|_| CountTable::new().unwrap()).collect();
            for (index, (pretoken, weight)) in pretokens.iter().enumerate() {
                *expected.entry(pretoken.clone()).or_default() += 2 * weight;
                let table = &mut tables[index % num_tables];
                table.add(pretoken, 0..pretoken.len(), *weight).unwrap();
                Counter::new(table, *weight, pretoken).add_all(&[pretoken.len()]).unwrap();
            }
            prop_assert_eq!(counts_of(&CountTable::merge_all(tables, num_threads).unwrap()), expected);
        }
    }

    #[test]
    fn growing_and_merging_in_parts_lose_nothing() {
        let ranges = [(0, 50_000), (40_000, 47_000), (45_000, 60_000), (1, 2), (0, 60_000)];
        for num_threads in [1, 2, 3, 8] {
            // Tables of different sizes, which share some of their pretokens, short and long.
            let mut tables = Vec::new();
            for (first, last) in ranges {
                let mut table = CountTable::new().unwrap();
                for number in first..last {
                    let mut text = format!("{number}");
                    if number % 10 == 0 {
                        text += &"x".repeat(number % 100);
                    }
                    table.add(text.as_bytes(), 0..text.len(), 1 << 33).unwrap();
                    Counter::new(&mut table, 1, text.as_bytes()).add_all(&[text.len()]).unwrap();
                }
                assert_eq!(table.len(), last - first);
                tables.push(table);
            }
            let counts = counts_of(&CountTable::merge_all(tables, num_threads).unwrap());
            assert_eq!(counts.len(), 60_000);
            for (pretoken, count) in counts {
                let digits = pretoken.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number: usize = std::str::from_utf8(&pretoken[..digits]).unwrap().parse().unwrap();
                let num_tables = ranges.iter().filter(|(first, last)| (*first..*last).contains(&number)).count();
                assert_eq!(count, num_tables as u64 * ((1 << 33) + 1), "{number}");
            }
        }
    }

    /// Keys whose hashes all begin with ones or zeros, so that they run over the end of the table.
    #[test]
    fn keys_that_run_over_the_end_are_merged_once() {
        let mut table = CountTable::new().unwrap();
        let mut expected = HashMap::new();
        for number in 0_u64..4_000_000 {
            let bytes = number.to_le_bytes();
            let hash = word_key::hash(word_key::pack(&bytes, &(0..8)).unwrap());
            if hash >> 54 == (1 << 10) - 1 || hash >> 55 == 0 && number % 1000 == 0 {
                table.add(&bytes, 0..8, number + 1).unwrap();
                expected.insert(bytes.to_vec(), number + 1);
            }
        }
        assert!(expected.len() > 1_000);
        for num_threads in [1, 2, 4] {
            let mut other = CountTable::new().unwrap();
            for index in 0..num_threads {
                other.add_part(&table, index, num_threads.ilog2()).unwrap();
            }
            assert_eq!(counts_of(&[other]), expected);
        }
    }
}
