//! counts -> merges -> vocabulary.

mod pairs;
mod queue;
mod tokens;
mod words;

use std::path::Path;

use self::pairs::{Limits, Pairs};
use self::tokens::Tokens;
use self::words::Words;
use crate::control::Control;
use crate::count::{CountTable, count_file, count_texts};
use crate::error::{Error, Result};
use crate::split::cut::Cutter;
use crate::split::{Pattern, SpecialTokens};
use crate::vocab::MAX_VOCAB_SIZE;

/// What to train.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The number of tokens wished for: the 256 bytes, the merges and the special tokens together.
    pub vocab_size: usize,
    /// Strings that stand for themselves: boundaries in the text, never counted, appended to the vocabulary.
    pub special_tokens: Vec<String>,
    /// How text is divided into pretokens.
    pub pattern: Pattern,
    /// At least 1; the result does not depend on it.
    pub num_threads: usize,
}

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
}

impl Trainer {
    /// # Errors
    /// [`Error::InvalidArgument`] for a vocabulary size out of range and for special tokens that are empty or repeated.
    pub fn new(options: TrainOptions) -> Result<Self> {
        let specials = SpecialTokens::new(&options.special_tokens)?;
        let smallest = 256 + new_special_tokens(&options.special_tokens).count();
        if options.vocab_size < smallest {
            return Err(Error::invalid(format!(
                "vocab_size must be at least {smallest} (256 bytes + {} special tokens), got {}",
                smallest - 256,
                options.vocab_size
            )));
        }
        if options.vocab_size > MAX_VOCAB_SIZE {
            return Err(Error::invalid(format!(
                "vocab_size must be at most {MAX_VOCAB_SIZE}, got {}",
                options.vocab_size
            )));
        }
        if options.num_threads == 0 {
            return Err(Error::invalid("num_threads must be at least 1, got 0"));
        }
        Ok(Self { options, specials, tables: Vec::new() })
    }

    /// Counts a UTF-8 text file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`] for invalid UTF-8, [`Error::Interrupted`], and [`Error::InvalidArgument`]
    /// for a regular expression that backtracks too much.
    pub fn count_file(&mut self, path: &Path, control: &Control) -> Result<()> {
        let Self { options, specials, tables } = self;
        let cutter = Cutter { pattern: &options.pattern, specials };
        count_file(tables, path, 1, cutter, options.num_threads, control)
    }

    /// Counts texts, each a document of its own.
    ///
    /// # Errors
    /// As [`count_file`](Self::count_file) but for those of files.
    pub fn count_texts<S: AsRef<str> + Sync>(&mut self, texts: &[S], control: &Control) -> Result<()> {
        let Self { options, specials, tables } = self;
        let cutter = Cutter { pattern: &options.pattern, specials };
        count_texts(tables, texts, 1, cutter, options.num_threads, control)
    }

    /// Counts one pretoken `weight` times, as it is: neither special tokens nor the pattern are applied.
    pub fn add_pretoken(&mut self, pretoken: &[u8], weight: u64) {
        if !pretoken.is_empty() && weight > 0 {
            if self.tables.is_empty() { self.tables.push(CountTable::new()); }
            self.tables[0].add(pretoken, 0..pretoken.len(), weight);
        }
    }

    /// Learns the merges. Ends early, with a smaller vocabulary, when no pair is left to merge.
    ///
    /// # Errors
    /// [`Error::Interrupted`], and [`Error::InvalidArgument`] if the counts together exceed 64 bits.
    pub fn finish(self, control: &Control) -> Result<Trained> {
        let Self { options, tables, .. } = self;
        let tables = CountTable::merge_all(tables, options.num_threads);
        let num_pretokens = tables.iter().map(CountTable::len).sum();
        let mut num_adjacencies = 0_u128;
        for table in &tables {
            table.for_each(|pretoken, count| { num_adjacencies += pretoken.len() as u128 * u128::from(count); Ok::<(), Error>(()) })?;
        }
        if num_adjacencies > u128::from(u64::MAX) {
            return Err(Error::invalid(format!(
                "the counts sum up to {num_adjacencies} bytes, expected at most {}; divide all weights by a constant",
                u64::MAX
            )));
        }

        let special_tokens: Vec<&String> = new_special_tokens(&options.special_tokens).collect();
        let num_merges = options.vocab_size - 256 - special_tokens.len();
        control.begin("merge", num_merges as u64);

        let mut words = Words::new(256);
        for table in tables {
            control.check()?;
            table.for_each(|pretoken, count| words.push(pretoken.iter().map(|&byte| u32::from(byte)), count))?;
        }
        let mut pairs = Pairs::new(words, Tokens::bytes_only(), Limits { min_count: 1, max_length: usize::MAX });
        let mut merges = Vec::new();
        while merges.len() < num_merges {
            let Some(best) = pairs.take_best(control)? else { break };
            pairs.merge(&best, control)?;
            let (left, right) = best.pair;
            merges.push((pairs.tokens.get(left).to_vec(), pairs.tokens.get(right).to_vec()));
            control.advance(1);
        }
        let tokens = &pairs.tokens;

        let learned = (0..tokens.len() as u32).map(|id| tokens.get(id).to_vec());
        let specials = special_tokens.into_iter().map(|token| token.as_bytes().to_vec());
        Ok(Trained { vocab: (0..).zip(learned.chain(specials)).collect(), merges, num_pretokens })
    }
}

/// The special tokens that are not tokens already. No merge can spell one out, as their texts are cut at them, so
/// that only single bytes are left out.
fn new_special_tokens(tokens: &[String]) -> impl Iterator<Item = &String> {
    tokens.iter().filter(|token| token.len() > 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn options(vocab_size: usize) -> TrainOptions {
        TrainOptions {
            vocab_size,
            special_tokens: Vec::new(),
            pattern: Pattern::parse("gpt2").unwrap(),
            num_threads: 1,
        }
    }

    fn train(words: &[(Vec<u8>, u64)], vocab_size: usize) -> Trained {
        let mut trainer = Trainer::new(options(vocab_size)).unwrap();
        for (word, weight) in words {
            trainer.add_pretoken(word, *weight);
        }
        trainer.finish(&Control::new()).unwrap()
    }

    /// The definition: count everything anew before each merge.
    fn merges_by_recounting(words: &[(Vec<u8>, u64)], num_merges: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut words: Vec<(Vec<Vec<u8>>, u64)> =
            words.iter().map(|(word, weight)| (word.iter().map(|byte| vec![*byte]).collect(), *weight)).collect();
        let mut merges = Vec::new();
        while merges.len() < num_merges {
            let mut counts: HashMap<(Vec<u8>, Vec<u8>), u64> = HashMap::new();
            for (word, weight) in &words {
                for pair in word.windows(2) {
                    *counts.entry((pair[0].clone(), pair[1].clone())).or_default() += weight;
                }
            }
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
            words in prop::collection::vec((prop::collection::vec(97_u8..101, 1..12), 1_u64..5), 0..12),
            num_merges in 0_usize..30,
        ) {
            prop_assert_eq!(train(&words, 256 + num_merges).merges, merges_by_recounting(&words, num_merges));
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
            together.count_texts(&whole, &Control::new()).unwrap();
            let mut apart = Trainer::new(options).unwrap();
            for text in whole.iter().rev() {
                apart.count_texts(&[text], &Control::new()).unwrap();
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
        trainer.add_pretoken(b"ab", u64::MAX / 2);
        trainer.add_pretoken(b"cd", u64::MAX / 2);
        let error = trainer.finish(&Control::new()).unwrap_err().to_string();
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
    fn cancelling_stops_the_work() {
        let mut trainer = Trainer::new(options(300)).unwrap();
        let control = Control::new();
        control.cancel();
        assert!(matches!(trainer.count_texts(&["a b"], &control), Err(Error::Interrupted)));
        trainer.add_pretoken(b"ab", 1);
        assert!(matches!(trainer.finish(&control), Err(Error::Interrupted)));
    }
}
