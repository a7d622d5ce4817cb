//! A tokenizer's numbers and tokens as canonical bytes: what tokenizers are compared by.

use crate::encode::Tokenizer;

/// The ids in ascending order, the length of each token, both ids of each merge in the order of rank (all of 32 bits,
/// little-endian), and the bytes of all tokens. Equal content gives equal bytes, however the tokenizer was made.
pub fn canonical_content(tokenizer: &Tokenizer) -> Vec<u8> {
    let (ids, tokens): (Vec<u32>, Vec<&[u8]>) = tokenizer.vocab().unzip();
    let lengths = tokens.iter().map(|token| token.len() as u32);
    let merged = tokenizer.merges().iter().flat_map(|merge| [merge.left, merge.right]);
    let num_bytes = tokens.iter().map(|token| token.len()).sum::<usize>();
    let mut content = Vec::with_capacity(8 * ids.len() + 8 * tokenizer.merges().len() + num_bytes);
    for number in ids.iter().copied().chain(lengths).chain(merged) {
        content.extend_from_slice(&number.to_le_bytes());
    }
    for token in tokens {
        content.extend_from_slice(token);
    }
    content
}
