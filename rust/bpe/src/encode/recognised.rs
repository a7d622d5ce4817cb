//! Which special tokens of a text become their ids; others are ordinary text.

use crate::error::Result;
use crate::split::SpecialTokens;

/// All special tokens of a tokenizer, some ([`Tokenizer::recognise`](super::Tokenizer::recognise)), or none
/// (`Recognised::default()`).
#[derive(Clone, Debug, Default)]
pub struct Recognised {
    tokens: SpecialTokens,
    /// By the index of the token.
    ids: Vec<u32>,
}

impl Recognised {
    pub(super) fn new(tokens: &[String], ids: Vec<u32>) -> Result<Self> {
        Ok(Self { tokens: SpecialTokens::new(tokens)?, ids })
    }

    pub(crate) fn tokens(&self) -> &SpecialTokens {
        &self.tokens
    }

    pub(super) fn id(&self, index: usize) -> u32 {
        self.ids[index]
    }

    /// The tokens and their ids in the order they were given in.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.tokens.tokens().iter().map(String::as_str).zip(self.ids.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Control, Pattern, Tokenizer};

    const SPECIALS: [&str; 3] = ["<a>", "<a><a>", "b"];

    /// The bytes, the merge of " x", and the special tokens 257, 258 and the byte `b`.
    fn tokenizer(pattern: &str) -> Tokenizer {
        let mut vocab: Vec<(u32, Vec<u8>)> = (0..=255).map(|byte| (u32::from(byte), vec![byte])).collect();
        vocab.push((256, b" x".to_vec()));
        let merges = vec![(b" ".to_vec(), b"x".to_vec())];
        Tokenizer::new(vocab, merges, &SPECIALS.map(str::to_owned), Pattern::parse(pattern).unwrap()).unwrap()
    }

    fn ids(tokenizer: &Tokenizer, text: &str, specials: &[&str]) -> Vec<u32> {
        let specials: Vec<String> = specials.iter().map(ToString::to_string).collect();
        let specials = tokenizer.recognise(&specials).unwrap();
        tokenizer.encode_with(text, &specials, 1, &Control::new()).unwrap()
    }

    #[test]
    fn what_is_not_recognised_is_ordinary_text() {
        for pattern in ["gpt2", "[a-z]|."] {
            let tokenizer = tokenizer(pattern);
            let [less, a, more, b] = b"<a>b".map(u32::from);
            assert_eq!(ids(&tokenizer, "<a><a><a>b", &SPECIALS), [258, 257, b]);
            assert_eq!(ids(&tokenizer, "<a><a>b", &["<a>"]), [257, 257, b]);
            assert_eq!(ids(&tokenizer, "<a><a>b", &["<a><a>"]), [258, b]);
            assert_eq!(ids(&tokenizer, "<a>b", &[]), [less, a, more, b]);
        }
    }

    #[test]
    fn large_texts_are_cut_by_what_is_recognised() {
        // For a pattern that knows no safe places, only the special tokens that are recognised may be cut at.
        let tokenizer = tokenizer("(?s:.+)");
        let text = "  x<a>".repeat(500_000);
        let control = Control::new();
        let ordinary = tokenizer.encode_with(&text, &Recognised::default(), 2, &control).unwrap();
        assert_eq!(ordinary.len(), 5 * 500_000);
        let texts = [&text[..], "<a>"];
        assert_eq!(tokenizer.encode_batch(&texts, &Recognised::default(), 2, &control).unwrap()[0], ordinary);
        assert_eq!(tokenizer.encode(&text, 2, &control).unwrap().len(), 3 * 500_000);
    }

    #[test]
    fn only_special_tokens_can_be_recognised() {
        let error = tokenizer("gpt2").recognise(&["<b>".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("\"<b>\" is not a special token"), "{error}");
    }

    #[test]
    fn a_pretoken_that_is_a_token_may_take_its_id() {
        let mut vocab: Vec<(u32, Vec<u8>)> = (0..=255).map(|byte| (u32::from(byte), vec![byte])).collect();
        let long = b"a token of more than fifteen bytes";
        vocab.extend([(256, b"xyz".to_vec()), (257, long.to_vec()), (258, b"<e>".to_vec())]);
        let specials = ["<e>".to_owned()];
        let tokenizer = Tokenizer::new(vocab, vec![], &specials, Pattern::parse(r"[a-z ]+|<e>").unwrap()).unwrap();
        assert_eq!(ids(&tokenizer, "xyz", &[]), b"xyz".map(u32::from));
        let tokenizer = tokenizer.with_ignore_merges(true);
        assert_eq!(ids(&tokenizer, "xyz<e>", &["<e>"]), [256, 258]);
        assert_eq!(ids(&tokenizer, "a token of more than fifteen bytes", &[]), [257]);
        assert_eq!(ids(&tokenizer, "wxyz", &[]), b"wxyz".map(u32::from));
        // A special token that is not recognised stays ordinary text even if the pattern keeps it whole.
        assert_eq!(ids(&tokenizer, "<e>", &[]), b"<e>".map(u32::from));
    }

    #[test]
    fn a_piece_of_a_pretoken_is_merged_even_if_it_is_a_token() {
        // Every two characters are joined by some merge, but the three together by none.
        let characters = ["日", "本", "語", "国"].map(str::as_bytes);
        let split = |token: &[u8], at: usize| (token[..at].to_vec(), token[at..].to_vec());
        let first_bytes = characters.map(|character| split(&character[..2], 1));
        let whole_characters = characters.map(|character| split(character, 2));
        let neighbours = [0, 1].map(|at| split(&characters[at..at + 2].concat(), 3));
        let merges = [&first_bytes[..], &whole_characters, &neighbours].concat();
        let whole = characters[..3].concat();
        let products = merges.iter().map(|(left, right)| [&left[..], right].concat());
        let tokens = (0..=255).map(|byte| vec![byte]).chain(products).chain([whole]);
        let vocab: Vec<(u32, Vec<u8>)> = (0..).zip(tokens).collect();
        let id_of = |token: &str| vocab.iter().find(|(_, bytes)| bytes == token.as_bytes()).unwrap().0;
        let (two, third, three, other) = (id_of("日本"), id_of("語"), id_of("日本語"), id_of("国"));
        let tokenizer = Tokenizer::new(vocab.clone(), merges, &[], Pattern::parse("gpt2").unwrap()).unwrap();
        let tokenizer = tokenizer.with_ignore_merges(true);
        for _ in 0..2 {
            assert_eq!(ids(&tokenizer, "日本語", &[]), [three]);
            assert_eq!(ids(&tokenizer, "日本語国国国", &[]), [two, third, other, other, other]);
            assert_eq!(ids(&tokenizer, "国国国日本語", &[]), [other, other, other, two, third]);
        }
    }
}
