//! counts -> merges -> vocabulary.

mod options;
mod pairs;
mod queue;
mod superwords;
mod tokens;
mod words;

use std::path::Path;

pub use self::options::TrainOptions;
use self::options::new_special_tokens;
use self::pairs::Pairs;
pub use self::superwords::{SecondStage, SuperTrainer};
use self::tokens::Tokens;
use self::words::Words;
use crate::control::Control;
use crate::corpus::Source;
use crate::count::{
    CountRules, CountTable, ReadPolicy, Reading, RunReader, SourceCount, Total, for_each_chunk, for_each_document,
    for_each_piece,
};
use crate::error::Result;
use crate::files::text::TextFile;
use crate::memory;
use crate::split::SpecialTokens;
use crate::split::cut::Cutter;

/// A trained vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trained {
    /// Ids from 0 without gaps: the bytes, the merges in the order of creation, the special tokens.
    pub vocab: Vec<(u32, Vec<u8>)>,
    /// The merges in the order of creation.
    pub merges: Vec<(Vec<u8>, Vec<u8>)>,
    /// How many different pretokens there were.
    pub num_pretokens: usize,
}

/// Counts pretokens, from as many sources as there are, and then learns merges from them.
///
/// The result is a function of the multiset of pretokens alone: neither the number of threads nor the order or the
/// division of the sources matters.
#[derive(Debug)]
pub struct Trainer {
    options: TrainOptions,
    specials: SpecialTokens,
    /// One for each thread that has counted.
    tables: Vec<CountTable>,
    total: Total,
}

impl Trainer {
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for options out of range and for special tokens that
    /// are empty or repeated.
    pub fn new(options: TrainOptions) -> Result<Self> {
        let specials = SpecialTokens::new(&options.special_tokens)?;
        options.check()?;
        Ok(Self { options, specials, tables: Vec::new(), total: Total::default() })
    }

    /// Counts a UTF-8 text file, as if it were there `weight` times.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Malformed`](crate::Error::Malformed) for invalid UTF-8,
    /// [`Error::Interrupted`](crate::Error::Interrupted), [`Error::OutOfMemory`](crate::Error::OutOfMemory), and
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for a regular expression that backtracks too much and
    /// for counts that may exceed 64 bits.
    pub fn count_file(&mut self, path: &Path, weight: u64, control: &Control) -> Result<()> {
        let Self { options, specials, tables, total } = self;
        let cutter = Cutter { pattern: &options.pattern, specials };
        let file = TextFile::open(path, control)?;
        total.add(file.len(), weight)?;
        let count = |table: &mut CountTable, text: &str| table.add_text(text, weight, cutter, control);
        for_each_chunk(tables, CountTable::new, &file, cutter, options.num_threads, control, count)
    }

    /// Counts the documents of a source, as if each were there `weight` times. Text without a separator is counted as
    /// [`count_file`](Self::count_file) does, whatever it is compressed with.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Malformed`](crate::Error::Malformed) for damaged files and for more
    /// rejected records than the policy allows, [`Error::Interrupted`](crate::Error::Interrupted), and
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) as [`count_file`](Self::count_file).
    pub fn count_source(
        &mut self,
        source: &Source,
        policy: ReadPolicy,
        weight: u64,
        control: &Control,
    ) -> Result<SourceCount> {
        let Self { options, specials, tables, total } = self;
        let cutter = Cutter { pattern: &options.pattern, specials };
        let reading = Reading { policy, weight, cutter, num_threads: options.num_threads, control };
        let count = |table: &mut CountTable, text: &str| table.add_text(text, weight, cutter, control);
        for_each_document(tables, total, CountTable::new, source, reading, count)
    }

    /// Counts texts, each a document of its own, as if they were there `weight` times.
    ///
    /// # Errors
    /// As [`count_file`](Self::count_file) but for those of files.
    pub fn count_texts<S: AsRef<str> + Sync>(&mut self, texts: &[S], weight: u64, control: &Control) -> Result<()> {
        let Self { options, specials, tables, total } = self;
        let cutter = Cutter { pattern: &options.pattern, specials };
        total.add(texts.iter().map(|text| text.as_ref().len()).sum(), weight)?;
        let count = |table: &mut CountTable, text: &str| table.add_text(text, weight, cutter, control);
        for_each_piece(tables, CountTable::new, texts, cutter, options.num_threads, control, count)
    }

    /// Adds counts that [`Counter`](crate::Counter) wrote to a file: as if the texts were counted here.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for counts by another pattern or other special tokens,
    /// and if they may exceed 64 bits together; [`Error::Malformed`](crate::Error::Malformed) for a damaged file;
    /// [`Error::Io`](crate::Error::Io), [`Error::Interrupted`](crate::Error::Interrupted).
    pub fn add_counts(&mut self, path: &Path, control: &Control) -> Result<()> {
        let mut reader = RunReader::open(path)?;
        let summary = reader.summary();
        CountRules::new(&self.options.pattern, &self.options.special_tokens).check_equal(path, &summary.rules)?;
        self.total.add_bytes(summary.num_bytes)?;
        control.begin("count", summary.num_pretokens);
        if self.tables.is_empty() {
            self.tables.push(CountTable::new()?);
        }
        let mut num_added = 0_u64;
        while reader.advance()? {
            let (pretoken, count) = reader.current();
            self.tables[0].add(pretoken, 0..pretoken.len(), count)?;
            num_added += 1;
            if num_added.is_multiple_of(1 << 14) {
                control.check()?;
                control.advance(1 << 14);
            }
        }
        Ok(())
    }

    /// Counts one pretoken `weight` times, as it is: neither special tokens nor the pattern are applied.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the counts together may exceed 64 bits;
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn add_pretoken(&mut self, pretoken: &[u8], weight: u64) -> Result<()> {
        self.total.add(pretoken.len(), weight)?;
        if self.tables.is_empty() {
            self.tables.push(CountTable::new()?);
        }
        if !pretoken.is_empty() && weight > 0 {
            self.tables[0].add(pretoken, 0..pretoken.len(), weight)?;
        }
        Ok(())
    }

    /// Learns the merges. Ends early, with a smaller vocabulary, when no pair is left to merge.
    ///
    /// # Errors
    /// [`Error::Interrupted`](crate::Error::Interrupted), [`Error::OutOfMemory`](crate::Error::OutOfMemory), and
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the distinct pretokens are longer than 4 GiB.
    pub fn finish(self, control: &Control) -> Result<Trained> {
        let num_merges = self.options.num_merges();
        control.begin("merge", num_merges as u64);
        let special_tokens = self.options.special_tokens.clone();
        self.learn(num_merges, control)?.into_trained(&special_tokens)
    }

    /// The first `num_merges` merges, or fewer when no pair is left.
    fn learn(self, num_merges: usize, control: &Control) -> Result<Learned> {
        let Self { options, tables, total, .. } = self;
        let tables = CountTable::merge_all(tables, options.num_threads)?;
        let num_pretokens = tables.iter().map(CountTable::len).sum();
        let mut words = Words::new(256);
        for table in tables {
            table.for_each(|pretoken, count| {
                if words.num_words().is_multiple_of(1 << 16) {
                    control.check()?;
                }
                words.push(pretoken.iter().map(|&byte| u32::from(byte)), count)
            })?;
        }
        let mut pairs = Pairs::new(words, Tokens::bytes_only(), options.limits(), total.threshold(num_merges))?;
        let mut merges = Vec::new();
        pairs.merge_best(num_merges, &mut merges, control)?;
        Ok(Learned { tokens: pairs.into_tokens(), merges, num_pretokens })
    }
}

/// About how much memory a token and its merge take, the bytes apart: three vectors and what the allocator adds.
const TRAINED_BYTES: usize = 200;

/// Tokens, and the merges by their ids that made them of the bytes.
#[derive(Debug)]
struct Learned {
    tokens: Tokens,
    merges: Vec<(u32, u32)>,
    num_pretokens: usize,
}

impl Learned {
    fn into_trained(self, special_tokens: &[String]) -> Result<Trained> {
        let Self { tokens, merges, num_pretokens } = self;
        memory::expect_room(tokens.len() * TRAINED_BYTES + 3 * tokens.num_bytes())?;
        let learned = (0..tokens.len() as u32).map(|id| tokens.get(id).to_vec());
        let specials = new_special_tokens(special_tokens).map(|token| token.as_bytes().to_vec());
        let vocab = (0..).zip(learned.chain(specials)).collect();
        Ok(Trained { vocab, merges: tokens.parts(&merges), num_pretokens })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::Error;

    fn options(vocab_size: usize) -> TrainOptions {
        TrainOptions { vocab_size, ..TrainOptions::default() }
    }

    fn train(words: &[(Vec<u8>, u64)], vocab_size: usize) -> Trained {
        let mut trainer = Trainer::new(options(vocab_size)).unwrap();
        for (word, weight) in words {
            trainer.add_pretoken(word, *weight).unwrap();
        }
        trainer.finish(&Control::new()).unwrap()
    }

    /// The definition: count everything anew before each merge.
    fn merges_by_recounting(words: &[(Vec<u8>, u64)], options: &TrainOptions) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut words: Vec<(Vec<Vec<u8>>, u64)> =
            words.iter().map(|(word, weight)| (word.iter().map(|byte| vec![*byte]).collect(), *weight)).collect();
        let mut merges = Vec::new();
        while merges.len() < options.num_merges() {
            let mut counts: HashMap<(Vec<u8>, Vec<u8>), u64> = HashMap::new();
            for (word, weight) in &words {
                for pair in word.windows(2) {
                    *counts.entry((pair[0].clone(), pair[1].clone())).or_default() += weight;
                }
            }
            counts.retain(|(left, right), count| {
                *count >= options.min_frequency && left.len() + right.len() <= options.max_token_length
            });
            let Some((pair, _)) = counts.into_iter().max_by(|(p, m), (q, n)| (m, p).cmp(&(n, q))) else { break };
            for (word, _) in &mut words {
                let mut at = 0;
                while at + 1 < word.len() {
                    if word[at] == pair.0 && word[at + 1] == pair.1 {
                        let right = word.remove(at + 1);
                        word[at].extend(right);
                    }
                    at += 1;
                }
            }
            merges.push(pair);
        }
        merges
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn merges_are_those_of_recounting(
            words in prop::collection::vec((prop::collection::vec(97_u8..101, 1..24), 1_u64..5), 0..12),
            num_merges in 0_usize..40,
            min_frequency in prop_oneof![Just(1_u64), 2_u64..9],
            max_token_length in prop_oneof![Just(usize::MAX), 1_usize..7],
            threshold in 0_u64..40,
        ) {
            let options = TrainOptions { min_frequency, max_token_length, ..options(256 + num_merges) };
            let expected = merges_by_recounting(&words, &options);
            let mut trainer = Trainer::new(options).unwrap();
            for (word, weight) in &words {
                trainer.add_pretoken(word, *weight).unwrap();
            }
            // Whatever is guessed of the counts.
            trainer.total = Total::of(100 * num_merges as u64 * threshold);
            prop_assert_eq!(trainer.finish(&Control::new()).unwrap().merges, expected);
        }

        #[test]
        fn a_weight_is_as_many_copies(
            texts in prop::collection::vec(("[ab ]{0,12}", 1_u64..4), 1..6), num_threads in 1_usize..4,
        ) {
            let options = TrainOptions { num_threads, ..options(280) };
            let mut weighted = Trainer::new(options.clone()).unwrap();
            let mut copied = Trainer::new(options).unwrap();
            for (text, weight) in &texts {
                weighted.count_texts(&[text], *weight, &Control::new()).unwrap();
                copied.count_texts(&vec![text; *weight as usize], 1, &Control::new()).unwrap();
            }
            prop_assert_eq!(weighted.finish(&Control::new()).unwrap(), copied.finish(&Control::new()).unwrap());
        }

        #[test]
        fn threads_and_division_do_not_matter(
            pieces in prop::collection::vec(prop::sample::select(&["ab", "abc", " ", "\n", "b", "日本", "'s", "<s>"][..]), 0..80),
            num_threads in 1_usize..4,
            split in 0_usize..80,
        ) {
            let options = TrainOptions { special_tokens: vec!["<s>".into()], num_threads, ..options(280) };
            let split = split.min(pieces.len());
            let whole = [pieces[..split].concat(), pieces[split..].concat()];
            let mut together = Trainer::new(TrainOptions { num_threads: 1, ..options.clone() }).unwrap();
            together.count_texts(&whole, 1, &Control::new()).unwrap();
            let mut apart = Trainer::new(options).unwrap();
            for text in whole.iter().rev() {
                apart.count_texts(&[text], 1, &Control::new()).unwrap();
            }
            prop_assert_eq!(together.finish(&Control::new()).unwrap(), apart.finish(&Control::new()).unwrap());
        }
    }

    #[test]
    fn ties_break_towards_greater_bytes() {
        let words = [("ba", "bb"), ("z\0", "zz"), ("A", "BA")].map(|(a, b)| format!("{a}{b}").into_bytes());
        let words: Vec<(Vec<u8>, u64)> = words.into_iter().map(|word| (word, 1)).collect();
        let merges = train(&words, 256 + 1).merges;
        assert_eq!(merges, [(b"z".to_vec(), b"z".to_vec())]);
        // ("a", "b") < ("ab", ...) by the tuple, although "ab" + "a" would be less than "abb" as one string.
        let words = [(b"abab".to_vec(), 2), (b"xy".to_vec(), 2)];
        assert_eq!(train(&words, 258).merges, [(b"a".to_vec(), b"b".to_vec()), (b"x".to_vec(), b"y".to_vec())]);
    }

    #[test]
    fn counts_beyond_32_bits_are_exact() {
        for big in [1_u64 << 31, 1 << 32, 1 << 40] {
            let words = [(b"ab".to_vec(), big - 1), (b"cd".to_vec(), big), (b"xy".to_vec(), 1), (b"ab".to_vec(), 2)];
            let merges = train(&words, 256 + 3).merges;
            let expected = [("a", "b"), ("c", "d"), ("x", "y")].map(|(a, b)| (a.into(), b.into()));
            assert_eq!(merges, expected);
        }
    }

    #[test]
    fn sums_beyond_64_bits_are_refused() {
        let mut trainer = Trainer::new(options(300)).unwrap();
        trainer.add_pretoken(b"ab", u64::MAX / 2).unwrap();
        let error = trainer.add_pretoken(b"c", u64::MAX / 2).unwrap_err().to_string();
        assert!(error.contains("divide all weights"), "{error}");
    }

    #[test]
    fn fewer_pairs_than_asked_give_a_smaller_vocabulary() {
        let trained = train(&[(b"ab".to_vec(), 1)], 1_000);
        assert_eq!(trained.vocab.len(), 257);
        assert_eq!(trained.vocab[256], (256, b"ab".to_vec()));
        assert_eq!(train(&[], 1_000).vocab.len(), 256);
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        let specials = vec!["<a>".to_owned(), "b".to_owned()];
        let error = Trainer::new(TrainOptions { special_tokens: specials.clone(), ..options(256) }).unwrap_err();
        assert!(error.to_string().contains("at least 257 (256 bytes + 1 special tokens), got 256"), "{error}");
        assert!(Trainer::new(TrainOptions { special_tokens: specials, ..options(257) }).is_ok());
        assert!(Trainer::new(options(usize::MAX)).is_err());
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let refused = |options| Trainer::new(options).unwrap_err().to_string();
        assert!(
            refused(TrainOptions { min_frequency: 0, ..options(300) }).contains("min_frequency must be at least 1")
        );
        let error = refused(TrainOptions { max_token_length: 0, ..options(300) });
        assert!(error.contains("max_token_length must be at least 1"), "{error}");
        assert!(refused(TrainOptions { num_threads: 0, ..options(300) }).contains("num_threads must be at least 1"));
    }

    #[test]
    fn cancelling_stops_the_work() {
        let mut trainer = Trainer::new(options(300)).unwrap();
        let control = Control::new();
        control.cancel();
        assert!(matches!(trainer.count_texts(&["a b"], 1, &control), Err(Error::Interrupted)));
        trainer.add_pretoken(b"ab", 1).unwrap();
        assert!(matches!(trainer.finish(&control), Err(Error::Interrupted)));
    }
}
