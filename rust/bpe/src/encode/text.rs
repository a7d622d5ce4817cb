//! One text to ids, on one thread: its segments, their pretokens, and each of these from the cache if it is there.

use std::ops::Range;

use super::cache::{Cache, INLINE};
use super::merge::reserve;
use super::{Recognised, Tokenizer};
use crate::control::Control;
use crate::error::Result;
use crate::split::Segment;
use crate::word_key;

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
        specials.tokens().for_each_segment(text, |segment| match segment {
            Segment::Special(index) => {
                num_special += 1;
                reserve(out, 1)?;
                out.push(specials.id(index));
                Ok(())
            }
            Segment::Text(offset, segment) => {
                let mut pending = Pending::new(offset);
                self.pattern.for_each_pretoken(segment, |range| {
                    let range = offset + range.start..offset + range.end;
                    if pending.push(text.as_bytes(), range, cache) {
                        self.encode_pending(text.as_bytes(), &mut pending, cache, out, control)?;
                    }
                    Ok(())
                })?;
                self.encode_pending(text.as_bytes(), &mut pending, cache, out, control)
            }
        })?;
        Ok(num_special)
    }

    fn encode_pending(
        &self,
        text: &[u8],
        pending: &mut Pending,
        cache: &mut Cache,
        out: &mut Vec<u32>,
        control: &Control,
    ) -> Result<()> {
        control.check()?;
        // The ids of the next few pretokens, copied to `out` together: copying all places of an entry and counting
        // those in use takes no branch on how many they are.
        let mut ids = [0; (Pending::CAPACITY + 1) * INLINE];
        let mut length = 0;
        let mut start = pending.start;
        for index in 0..std::mem::take(&mut pending.length) {
            let Pretoken { key, bucket, end } = pending.pretokens[index];
            let range = start..end;
            start = end;
            if let Some(entry) = cache.get(bucket, key)
                && entry.len() <= INLINE
            {
                ids[length..length + INLINE].copy_from_slice(entry.places());
                length += entry.len();
                continue;
            }
            append(out, &ids[..length])?;
            length = 0;
            self.encode_rare(text, range, (key, bucket), cache, out, control)?;
        }
        pending.start = start;
        append(out, &ids[..length])
    }

    /// A pretoken that is not in the cache, has many ids or is too long to be there.
    fn encode_rare(
        &self,
        text: &[u8],
        range: Range<usize>,
        (key, bucket): (u128, usize),
        cache: &mut Cache,
        out: &mut Vec<u32>,
        control: &Control,
    ) -> Result<()> {
        if key == Pending::LONG {
            return match &self.levels {
                Some(levels) if !self.ignore_merges => levels.encode(&self.table, text, range, cache, out, control),
                _ => self.encode_pretoken(&text[range], out, control),
            };
        }
        if let Some(entry) = cache.get(bucket, key) {
            return append(out, cache.ids(&entry));
        }
        let first = out.len();
        self.encode_pretoken(&text[range], out, control)?;
        cache.insert(bucket, key, &out[first..]);
        Ok(())
    }

    /// Appends the ids of one pretoken.
    fn encode_pretoken(&self, pretoken: &[u8], out: &mut Vec<u32>, control: &Control) -> Result<()> {
        if self.ignore_merges
            && let Some(id) = self.vocab.id(pretoken)
            && !self.is_only_special(id)
        {
            return append(out, &[id]);
        }
        self.table.encode(pretoken, out, control)
    }
}

fn append(out: &mut Vec<u32>, ids: &[u32]) -> Result<()> {
    reserve(out, ids.len())?;
    out.extend_from_slice(ids);
    Ok(())
}

/// The next few pretokens. While they are scanned, the memory that the first of them will be looked up in is on its
/// way: the cache is larger than the processor's own, and waiting for each line in turn took half of all time.
struct Pending {
    /// Where the first of them starts.
    start: usize,
    pretokens: [Pretoken; Self::CAPACITY],
    length: usize,
}

#[derive(Clone, Copy, Default)]
struct Pretoken {
    key: u128,
    bucket: usize,
    end: usize,
}

impl Pending {
    const CAPACITY: usize = 64;
    /// Stands for the key of a pretoken that is too long to have one; no key and no free entry is equal to it.
    const LONG: u128 = u128::MAX;

    fn new(start: usize) -> Self {
        Self { start, pretokens: [Pretoken::default(); Self::CAPACITY], length: 0 }
    }

    /// Returns whether it is full now.
    #[inline]
    fn push(&mut self, text: &[u8], range: Range<usize>, cache: &Cache) -> bool {
        let key = word_key::pack(text, &range).unwrap_or(Self::LONG);
        self.pretokens[self.length] = Pretoken { key, bucket: cache.bucket_of(key), end: range.end };
        self.length += 1;
        self.length == Self::CAPACITY
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
            assert_eq!(control.progress().done, texts.iter().map(|text| text.len() as u64).sum::<u64>());
        }
    }

    #[test]
    fn an_id_without_a_token_is_named() {
        let error = tokenizer("gpt2").decode_bytes(&[1, 2, 5000]).unwrap_err().to_string();
        assert!(error.contains("id 5000 at position 2"), "{error}");
    }
}
