//! Any vocabulary on any text, against the definition.

use bpe::{Control, Pattern, StreamEncoder, Tokenizer};

use crate::source::Source;

const PATTERNS: [&str; 5] = ["gpt2", "cl100k", "o200k", r"(?s:.)+", r"\S+|\s"];
const SPECIALS: [&str; 6] = ["<|e|>", "<|e|><|e|>", " ", "'", "the", "\n"];
const MOST_MERGES: usize = 40;

/// Makes a vocabulary of random merges and special tokens, and compares all ways to encode with the definition, which
/// merges the pair of the lowest rank until there is none.
pub fn encode(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let pattern = Pattern::parse(source.one_of(&PATTERNS)).expect("these are right");
    let specials: Vec<String> = (0..source.below(3)).map(|_| source.one_of(&SPECIALS).to_owned()).collect();
    let (vocab, merges) = vocabulary(&mut source);
    let ignore_merges = source.below(4) == 0;
    let piece_size = source.below(20) + 1;
    let text = source.text();

    let Ok(tokenizer) = Tokenizer::new(vocab, merges.clone(), &specials, pattern) else {
        return; // a special token twice
    };
    let tokenizer = tokenizer.with_ignore_merges(ignore_merges);
    let control = Control::new();
    let ids = tokenizer.encode(&text, 1, &control).expect("no pattern among these backtracks");
    assert_eq!(tokenizer.decode_bytes(&ids).expect("these are its ids"), text.as_bytes());
    assert_eq!(tokenizer.encode(&text, 2, &control).expect("as before"), ids, "on two threads: {text:?}");
    assert_eq!(streamed(&tokenizer, &text, piece_size), ids, "in pieces of {piece_size}: {text:?}");
    let batch = tokenizer.encode_batch(&[&text, &text], tokenizer.specials(), 2, &control).expect("as before");
    assert_eq!(batch, [ids.clone(), ids.clone()], "in a batch: {text:?}");
    if specials.is_empty() && !ignore_merges && tokenizer.pattern().as_str() == PATTERNS[3] {
        assert_eq!(ids, by_definition(&tokenizer, &merges, text.as_bytes()), "{text:?} with {merges:?}");
    }
}

/// The 256 bytes and tokens that are made of two others; the merges in an order of their own.
#[expect(clippy::type_complexity, reason = "the parts of a tokenizer, as it takes them")]
fn vocabulary(source: &mut Source<'_>) -> (Vec<(u32, Vec<u8>)>, Vec<(Vec<u8>, Vec<u8>)>) {
    let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    let mut merges = Vec::new();
    for _ in 0..source.below(MOST_MERGES) {
        let first = if source.coin() { tokens.len() - 1 } else { source.below(tokens.len()) };
        let second = if source.coin() { usize::from(b'a') + source.below(3) } else { source.below(tokens.len()) };
        let (left, right) = (tokens[first].clone(), tokens[second].clone());
        let whole = [&left[..], &right].concat();
        if !tokens.contains(&whole) && whole.len() < 60 {
            tokens.push(whole);
            merges.insert(source.below(merges.len() + 1), (left, right));
        }
    }
    ((0..).zip(tokens).collect(), merges)
}

fn by_definition(tokenizer: &Tokenizer, merges: &[(Vec<u8>, Vec<u8>)], text: &[u8]) -> Vec<u32> {
    let mut parts: Vec<Vec<u8>> = text.iter().map(|&byte| vec![byte]).collect();
    let rank = |pair: &[Vec<u8>]| merges.iter().position(|(left, right)| *left == pair[0] && *right == pair[1]);
    while let Some((_, index)) =
        parts.windows(2).enumerate().filter_map(|(index, pair)| Some((rank(pair)?, index))).min()
    {
        let right = parts.remove(index + 1);
        parts[index].extend(right);
    }
    parts.iter().map(|part| tokenizer.token_to_id(part).expect("every part is a token")).collect()
}

/// The ids of a text that comes in pieces of so many characters.
pub(crate) fn streamed(tokenizer: &Tokenizer, text: &str, piece_size: usize) -> Vec<u32> {
    let mut stream = StreamEncoder::new();
    let mut ids = Vec::new();
    let characters: Vec<char> = text.chars().collect();
    for piece in characters.chunks(piece_size) {
        let piece: String = piece.iter().collect();
        stream.push(tokenizer, &piece, &mut ids).expect("a pattern that takes the whole takes its pieces");
    }
    stream.finish(tokenizer, &mut ids).expect("a pattern that takes the whole takes its pieces");
    ids
}
