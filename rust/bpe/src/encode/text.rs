//! One text to ids, on one thread: its segments and their pretokens.

use super::cache::Cache;
use super::pending::Pending;
use super::{Recognised, Tokenizer};
use crate::control::Control;
use crate::error::Result;
use crate::memory::append;
use crate::split::Segment;
use crate::split::scan::MAX_ENDS;

impl Tokenizer {
    /// Appends the ids of a text to `out`; the number of special tokens among them is returned.
    pub(super) fn encode_into(
        &self,
        text: &str,
        specials: &Recognised,
        cache: &mut Cache,
        out: &mut Vec<u32>,
        control: &Control,
    ) -> Result<u64> {
        let mut num_special = 0;
        let mut ends = [0; MAX_ENDS];
        let mut pending = Pending::new(self, text.as_bytes(), cache, out, control);
        specials.tokens().for_each_segment(text, |segment| match segment {
            Segment::Special(index) => {
                num_special += 1;
                append(pending.out, &[specials.id(index)])
            }
            Segment::Text(offset, segment) => {
                pending.skip_to(offset);
                self.pattern
                    .for_each_batch(text, offset..offset + segment.len(), &mut ends, |ends| pending.take(ends))?;
                pending.flush()
            }
        })?;
        Ok(num_special)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::StreamEncoder;
    use super::*;
    use crate::{Pattern, TrainOptions, Trainer};

    const PIECES: &[&str] = &[
        "the", " the", "low", "er", "'", "'s", " ", "\n", "\u{3000}", "日本", "é", "1", "!", "<|", "<|end|>", "end|>",
        "🙂",
    ];

    fn tokenizer(pattern: &str) -> Tokenizer {
        let special_tokens = vec!["<|end|>".to_owned(), "<|end|><|end|>".to_owned()];
        let pattern = Pattern::parse(pattern).unwrap();
        let mut trainer = Trainer::new(TrainOptions {
            vocab_size: 300,
            special_tokens: special_tokens.clone(),
            pattern: pattern.clone(),
            ..TrainOptions::default()
        })
        .unwrap();
        trainer
            .count_texts(&["the lower the 日本 lower 🙂 low's low's\n\n11!! éé".repeat(3)], 1, &Control::new())
            .unwrap();
        let trained = trainer.finish(&Control::new()).unwrap();
        Tokenizer::new(trained.vocab, trained.merges, &special_tokens, pattern).unwrap()
    }

    /// Without cache, cuts or threads.
    fn by_definition(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let specials = tokenizer.specials();
        specials
            .tokens()
            .for_each_segment(text, |segment| match segment {
                Segment::Special(index) => {
                    ids.push(specials.id(index));
                    Ok(())
                }
                Segment::Text(_, text) => tokenizer.pattern.for_each_pretoken(text, |range| {
                    tokenizer.table.encode(&text.as_bytes()[range], &mut ids, &Control::new())
                }),
            })
            .unwrap();
        ids
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn a_text_in_pieces_is_the_text(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60), named in any::<bool>()
        ) {
            let tokenizer = tokenizer(if named { "gpt2" } else { r"\w+| \w+|\s" });
            let text = pieces.concat();
            let expected = by_definition(&tokenizer, &text);
            prop_assert_eq!(&tokenizer.encode(&text, 2, &Control::new()).unwrap(), &expected);

            let (mut stream, mut ids) = (StreamEncoder::new(), Vec::new());
            for piece in &pieces {
                stream.push(&tokenizer, piece, &mut ids).unwrap();
            }
            stream.finish(&tokenizer, &mut ids).unwrap();
            prop_assert_eq!(&ids, &expected);
            prop_assert_eq!(tokenizer.decode_bytes(&ids).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn threads_and_batches_do_not_change_the_ids() {
        let tokenizer = tokenizer("gpt2");
        let text = PIECES.concat().repeat(30_000);
        let texts = [&text[..], "", "the", &text[..PIECES.concat().len() * 20_000]];
        let expected = texts.map(|text| by_definition(&tokenizer, text));
        for num_threads in [1, 2, 3] {
            let control = Control::new();
            assert!(tokenizer.encode(&text, num_threads, &control).unwrap() == expected[0]);
            assert!(tokenizer.encode_batch(&texts, tokenizer.specials(), num_threads, &control).unwrap() == expected);
            let (ids, starts) =
                tokenizer.encode_batch_together(&texts, tokenizer.specials(), num_threads, &Control::new()).unwrap();
            assert_eq!(starts.len(), texts.len() + 1);
            let part = |index: usize| &ids[starts[index]..starts[index + 1]];
            assert!((0..texts.len()).all(|index| part(index) == expected[index]) && ids.len() == starts[4]);
            assert_eq!(control.progress().done, texts.iter().map(|text| text.len() as u64).sum::<u64>());
        }
    }

    #[test]
    fn many_short_texts_together_are_each_by_itself() {
        let tokenizer = tokenizer("gpt2");
        let texts: Vec<String> = (0..40_000).map(|number| PIECES[number % 17].repeat(number % 5)).collect();
        for num_threads in [1, 2] {
            let (ids, starts) =
                tokenizer.encode_batch_together(&texts, tokenizer.specials(), num_threads, &Control::new()).unwrap();
            for (text, range) in texts.iter().zip(starts.windows(2)) {
                assert_eq!(ids[range[0]..range[1]], by_definition(&tokenizer, text));
            }
        }
        let nothing = tokenizer.encode_batch_together(&[""; 0], tokenizer.specials(), 2, &Control::new()).unwrap();
        assert_eq!(nothing, (vec![], vec![0]));
    }

    #[test]
    fn an_id_without_a_token_is_named() {
        let error = tokenizer("gpt2").decode_bytes(&[1, 2, 5000]).unwrap_err().to_string();
        assert!(error.contains("id 5000 at position 2"), "{error}");
    }
}
