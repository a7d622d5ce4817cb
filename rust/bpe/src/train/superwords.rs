//! The second stage of SuperBPE (Liu et al. 2025, arXiv 2503.13423): training goes on across words.

use std::path::Path;

use super::pairs::{Limits, Pairs};
use super::words::Words;
use super::{Learned, TrainOptions, Trained, Trainer};
use crate::control::Control;
use crate::corpus::Source;
use crate::count::{
    LongCounts, ReadPolicy, Reading, SourceCount, Total, for_each_chunk, for_each_document, for_each_piece,
};
use crate::encode::{Cache, Subwords};
use crate::error::{Error, Result};
use crate::files::text::TextFile;
use crate::split::cut::Cutter;
use crate::split::{Pattern, Segment, SpecialTokens};

/// What the second stage differs in.
#[derive(Clone, Debug)]
pub struct SecondStage {
    /// The size of the vocabulary, special tokens included, at which the first stage ends.
    pub transition_size: usize,
    /// How text is divided into pretokens in the second stage and when it is encoded.
    pub pattern: Pattern,
    /// Pairs of more words together are not merged: a word is a stretch without a space. At least 1.
    pub max_token_words: usize,
    /// Pairs that contain one of these together are not merged.
    pub forbidden: Vec<String>,
}

/// Counts texts a second time, as sequences of the tokens of the first stage, and then learns the other merges.
#[derive(Debug)]
pub struct SuperTrainer {
    options: TrainOptions,
    stage: SecondStage,
    specials: SpecialTokens,
    learned: Learned,
    subwords: Subwords,
    /// One for each thread that has counted. A sequence may be in several.
    tables: Vec<Sequences>,
    total: Total,
}

/// The pretokens that one thread has seen.
#[derive(Debug)]
struct Sequences {
    counts: LongCounts<u32>,
    cache: Cache,
    /// Room for one pretoken.
    symbols: Vec<u32>,
}

impl Trainer {
    /// Ends the first stage. The merges are those of [`finish`](Self::finish) for a vocabulary of the transition size.
    ///
    /// # Errors
    /// As those of [`finish`](Self::finish), and [`Error::InvalidArgument`] for a transition size out of range, a
    /// number of words of 0 and an empty forbidden string.
    pub fn finish_first_stage(self, stage: SecondStage, control: &Control) -> Result<SuperTrainer> {
        let SecondStage { transition_size, .. } = stage;
        let smallest = self.options.vocab_size - self.options.num_merges();
        if !(smallest..=self.options.vocab_size).contains(&transition_size) {
            return Err(Error::invalid(format!(
                "transition_size must be from {smallest} (the bytes and special tokens) to vocab_size {}, got \
                 {transition_size}",
                self.options.vocab_size
            )));
        }
        if stage.max_token_words == 0 {
            return Err(Error::invalid("max_token_words must be at least 1, got 0"));
        }
        if stage.forbidden.iter().any(String::is_empty) {
            return Err(Error::invalid("a forbidden string is empty, which every token contains; leave it out"));
        }
        let (options, specials) = (self.options.clone(), self.specials.clone());
        let num_merges = transition_size - smallest;
        control.begin("merge", num_merges as u64);
        let learned = self.learn(num_merges, control)?;
        let subwords = Subwords::new(&learned.merges)?;
        Ok(SuperTrainer { options, stage, specials, learned, subwords, tables: Vec::new(), total: Total::default() })
    }
}

impl SuperTrainer {
    /// Counts a UTF-8 text file, as if it were there `weight` times.
    ///
    /// # Errors
    /// As [`Trainer::count_file`].
    pub fn count_file(&mut self, path: &Path, weight: u64, control: &Control) -> Result<()> {
        let Self { options, stage, specials, subwords, tables, total, .. } = self;
        let cutter = Cutter { pattern: &stage.pattern, specials };
        let file = TextFile::open(path, control)?;
        total.add(file.len(), weight)?;
        let count = |table: &mut Sequences, text: &str| table.add_text(text, weight, cutter, subwords, control);
        for_each_chunk(tables, Sequences::new, &file, cutter, options.num_threads, control, count)
    }

    /// Counts the documents of a source, as if each were there `weight` times.
    ///
    /// # Errors
    /// As [`Trainer::count_source`].
    pub fn count_source(
        &mut self,
        source: &Source,
        policy: ReadPolicy,
        weight: u64,
        control: &Control,
    ) -> Result<SourceCount> {
        let Self { options, stage, specials, subwords, tables, total, .. } = self;
        let cutter = Cutter { pattern: &stage.pattern, specials };
        let reading = Reading { policy, weight, cutter, num_threads: options.num_threads, control };
        let count = |table: &mut Sequences, text: &str| table.add_text(text, weight, cutter, subwords, control);
        for_each_document(tables, total, Sequences::new, source, reading, count)
    }

    /// Counts texts, each a document of its own, as if they were there `weight` times.
    ///
    /// # Errors
    /// As [`Trainer::count_texts`].
    pub fn count_texts<S: AsRef<str> + Sync>(&mut self, texts: &[S], weight: u64, control: &Control) -> Result<()> {
        let Self { options, stage, specials, subwords, tables, total, .. } = self;
        let cutter = Cutter { pattern: &stage.pattern, specials };
        total.add(texts.iter().map(|text| text.as_ref().len()).sum(), weight)?;
        let count = |table: &mut Sequences, text: &str| table.add_text(text, weight, cutter, subwords, control);
        for_each_piece(tables, Sequences::new, texts, cutter, options.num_threads, control, count)
    }

    /// Learns the other merges. Ends early, with a smaller vocabulary, when no pair is left to merge.
    ///
    /// # Errors
    /// As [`Trainer::finish`].
    pub fn finish(self, control: &Control) -> Result<Trained> {
        let Self { options, stage, learned, tables, total, .. } = self;
        let Learned { tokens, mut merges, num_pretokens } = learned;
        let num_merges = options.num_merges();
        let num_before = merges.len();
        control.begin("merge", (num_merges - num_before) as u64);
        let mut words = Words::new(tokens.len());
        for Sequences { counts, .. } in tables {
            counts.for_each(|symbols, count| {
                if words.num_words().is_multiple_of(1 << 12) {
                    control.check()?;
                }
                words.push(symbols.iter().copied(), count)
            })?;
        }
        let limits = Limits {
            max_words: stage.max_token_words,
            forbidden: stage.forbidden.iter().map(|text| text.as_bytes().to_vec()).collect(),
            ..options.limits()
        };
        let mut pairs = Pairs::new(words, tokens, limits, total.threshold(num_merges - num_before))?;
        pairs.merge_best(num_merges, &mut merges, control)?;
        Learned { tokens: pairs.into_tokens(), merges, num_pretokens }.into_trained(&options.special_tokens)
    }
}

impl Sequences {
    /// As other tables are made, of which some take memory at once.
    #[allow(clippy::unnecessary_wraps, reason = "this one takes it later")]
    fn new() -> Result<Self> {
        Ok(Self { counts: LongCounts::default(), cache: Cache::new(), symbols: Vec::new() })
    }

    fn add_text(
        &mut self,
        text: &str,
        weight: u64,
        cutter: Cutter<'_>,
        subwords: &Subwords,
        control: &Control,
    ) -> Result<()> {
        let Self { counts, cache, symbols } = self;
        cutter.specials.for_each_segment(text, |segment| match segment {
            Segment::Special(_) => Ok(()),
            Segment::Text(offset, segment) => cutter.pattern.for_each_pretoken(segment, |range| {
                control.check()?;
                symbols.clear();
                let range = offset + range.start..offset + range.end;
                subwords.encode(text.as_bytes(), range, cache, symbols, control)?;
                if symbols.len() > 1 {
                    counts.add(symbols, weight)?;
                }
                Ok(())
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained(vocab_size: usize, transition_size: usize, forbidden: &[&str], max_token_words: usize) -> Trained {
        let control = Control::new();
        let texts = ["by the way: by the way, by the way by the way", "by the 10 by the 10"];
        let mut trainer = Trainer::new(TrainOptions { vocab_size, num_threads: 2, ..TrainOptions::default() }).unwrap();
        trainer.count_texts(&texts, 1, &control).unwrap();
        let stage = SecondStage {
            transition_size,
            pattern: Pattern::parse("superbpe").unwrap(),
            max_token_words,
            forbidden: forbidden.iter().map(ToString::to_string).collect(),
        };
        let mut trainer = trainer.finish_first_stage(stage, &control).unwrap();
        trainer.count_texts(&texts, 1, &control).unwrap();
        trainer.finish(&control).unwrap()
    }

    fn tokens(trained: &Trained) -> Vec<String> {
        trained.vocab[256..].iter().map(|(_, token)| String::from_utf8(token.clone()).unwrap()).collect()
    }

    #[test]
    fn words_come_first_and_then_phrases() {
        let tokens = tokens(&trained(270, 263, &[], usize::MAX));
        assert!(tokens[..7].iter().all(|token| !token.trim().contains(' ')), "{tokens:?}");
        assert!(tokens[7..].contains(&"by the way".to_owned()), "{tokens:?}");
        assert!(tokens.iter().all(|token| !token.contains('1') || token.len() == 2), "{tokens:?}");
    }

    #[test]
    fn limits_hold_in_the_second_stage() {
        let free = tokens(&trained(400, 263, &[], usize::MAX));
        assert!(free.iter().any(|token| token.contains(": ")));
        assert!(free.iter().any(|token| token.split(' ').count() > 3));
        let limited = tokens(&trained(400, 263, &[": "], 2));
        assert!(limited.iter().all(|token| !token.contains(": ") && token.split_whitespace().count() <= 2));
        assert!(limited.contains(&"by the".to_owned()));
    }

    #[test]
    fn a_transition_at_the_end_is_ordinary_training() {
        let mut trainer = Trainer::new(TrainOptions { vocab_size: 262, ..TrainOptions::default() }).unwrap();
        trainer.count_texts(&["by the way by the way"], 1, &Control::new()).unwrap();
        let expected = trainer.finish(&Control::new()).unwrap();
        let mut trainer = Trainer::new(TrainOptions { vocab_size: 262, ..TrainOptions::default() }).unwrap();
        trainer.count_texts(&["by the way by the way"], 1, &Control::new()).unwrap();
        let stage = SecondStage {
            transition_size: 262,
            pattern: Pattern::parse("superbpe").unwrap(),
            max_token_words: 4,
            forbidden: Vec::new(),
        };
        let trainer = trainer.finish_first_stage(stage, &Control::new()).unwrap();
        assert_eq!(trainer.finish(&Control::new()).unwrap(), expected);
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let stage = |transition_size, max_token_words, forbidden: &str| {
            let trainer = Trainer::new(TrainOptions { vocab_size: 300, ..TrainOptions::default() }).unwrap();
            let pattern = Pattern::parse("superbpe").unwrap();
            let stage = SecondStage { transition_size, pattern, max_token_words, forbidden: vec![forbidden.into()] };
            trainer.finish_first_stage(stage, &Control::new()).unwrap_err().to_string()
        };
        assert!(stage(255, 4, "x").contains("transition_size must be from 256"));
        assert!(stage(301, 4, "x").contains("to vocab_size 300, got 301"));
        assert!(stage(280, 0, "x").contains("max_token_words must be at least 1"));
        assert!(stage(280, 4, "").contains("a forbidden string is empty"));
    }
}
