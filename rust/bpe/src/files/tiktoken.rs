//! The rank files of tiktoken (`cl100k_base.tiktoken`): a line for each token, in base64, and its rank, which is its id too.
//!
//! There are no merges in such a file. tiktoken joins two neighbours whenever together they are a token, the lowest
//! rank first. Still each token is made of one pair only. For where its bytes stand in a text and nothing has been
//! joined across their edges yet, what happens between the edges is what happens when they stand alone; and a token is
//! joined only where nothing was. So the pair is what the token's bytes alone come to before the last step, and a
//! token whose bytes alone come to rest in more than two parts is never made: tiktoken gives its id only to a pretoken
//! that is equal to it as a whole, which is what `ignore_merges` says.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustc_hash::FxHashMap;

use super::Contents;
use super::atomic::AtomicFile;
use super::text::validated;
use crate::control::Control;
use crate::encode::Tokenizer;
use crate::error::{Error, Result};
use crate::merges::{Merge, Merges};
use crate::split::Pattern;
use crate::vocab::shown;

/// Finding a token's pair takes time quadratic in its length. The longest published ones have 128 bytes.
const MAX_TOKEN_BYTES: usize = 1 << 12;
/// No token: greater than every one.
const NONE: u32 = u32::MAX;

/// What the name of a published file tells and the file does not.
struct Published {
    name: &'static str,
    pattern: &'static str,
    special_tokens: &'static [(&'static str, u32)],
}

/// The encodings that tiktoken's authors have published under these file names.
const PUBLISHED: [Published; 4] = [
    Published { name: "r50k_base", pattern: "gpt2", special_tokens: &[("<|endoftext|>", 50256)] },
    Published { name: "p50k_base", pattern: "gpt2", special_tokens: &[("<|endoftext|>", 50256)] },
    Published {
        name: "cl100k_base",
        pattern: "cl100k",
        special_tokens: &[
            ("<|endoftext|>", 100_257),
            ("<|fim_prefix|>", 100_258),
            ("<|fim_middle|>", 100_259),
            ("<|fim_suffix|>", 100_260),
            ("<|endofprompt|>", 100_276),
        ],
    },
    Published {
        name: "o200k_base",
        pattern: "o200k",
        special_tokens: &[("<|endoftext|>", 199_999), ("<|endofprompt|>", 200_018)],
    },
];

/// Reads the file and finds the merges. Pattern and special tokens are there only if the file has the name of a
/// published one: `r50k_base`, `p50k_base`, `cl100k_base` or `o200k_base`.
///
/// # Errors
/// [`Error::Io`], [`Error::Malformed`] with the line at fault, [`Error::Interrupted`].
pub fn read(path: &Path, control: &Control) -> Result<Contents> {
    let mut contents = Contents { vocab: read_ranks(path)?, ..Contents::default() };
    contents.vocab.sort_by_key(|(id, _)| *id);
    let tokens: Vec<(u32, &[u8])> = contents.vocab.iter().map(|(id, token)| (*id, &token[..])).collect();
    let recovered = recover(&tokens, control)?;
    contents.merges = Merges::Numbered(recovered.merges);
    contents.ignore_merges = !recovered.never_made.is_empty();
    contents.never_made = Some(recovered.never_made);
    let name = path.file_stem().unwrap_or_default();
    if let Some(published) = PUBLISHED.iter().find(|published| name == published.name) {
        contents.pattern = Some(Pattern::parse(published.pattern)?);
        contents.declare(published.special_tokens.iter().map(|(token, id)| ((*token).to_owned(), Some(*id))));
    }
    Ok(contents)
}

fn read_ranks(path: &Path) -> Result<Vec<(u32, Vec<u8>)>> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let text = validated(path, &bytes, 0)?;
    let mut ranks = Vec::new();
    for (number, line) in (1..).zip(text.split('\n')) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let parts = line.split_once(' ');
        let parsed = parts.and_then(|(token, rank)| Some((rank.parse().ok()?, BASE64.decode(token).ok()?)));
        let Some((rank, token)) = parsed else {
            let shown: String = line.chars().take(60).collect();
            return Err(Error::malformed(
                path,
                format!("line {number} is {shown:?}, expected a token in base64, a space and its rank"),
            ));
        };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Error::malformed(
                path,
                format!("the token in line {number} has {} bytes, expected at most {MAX_TOKEN_BYTES}", token.len()),
            ));
        }
        ranks.push((rank, token));
    }
    Ok(ranks)
}

/// Writes the file. Special tokens and the pattern are not part of this format.
///
/// # Errors
/// As [`ranks`], and [`Error::Io`].
pub fn write(tokenizer: &Tokenizer, path: &Path, control: &Control) -> Result<()> {
    let ranks = ranks(tokenizer, control)?;
    let mut file = AtomicFile::create(path)?;
    for (id, token) in ranks {
        file.write(format!("{} {id}\n", BASE64.encode(token)).as_bytes())?;
    }
    file.commit()
}

/// The tokens, without those that are special only, with their ids as ranks: tiktoken comes to the same ids by them.
///
/// # Errors
/// [`Error::InvalidArgument`] if it would not, as the order of the ids is not that of the merges; [`Error::Interrupted`].
pub fn ranks<'t>(tokenizer: &'t Tokenizer, control: &Control) -> Result<Vec<(u32, &'t [u8])>> {
    const REMEDY: &str = "a file of ranks cannot hold this tokenizer, write tokenizer.json";
    let ranks: Vec<(u32, &[u8])> = tokenizer.vocab().filter(|(id, _)| !tokenizer.is_only_special(*id)).collect();
    if let Some((id, token)) = ranks.iter().find(|(_, token)| token.len() > MAX_TOKEN_BYTES) {
        let length = token.len();
        return Err(Error::invalid(format!(
            "the token of id {id} has {length} bytes, expected at most {MAX_TOKEN_BYTES}; {REMEDY}"
        )));
    }
    let recovered = recover(&ranks, control)?;
    let merges = tokenizer.merges();
    let num_equal = merges.iter().zip(&recovered.merges).take_while(|(ours, theirs)| ours == theirs).count();
    if num_equal < merges.len() || num_equal < recovered.merges.len() {
        let token = |id| shown(tokenizer.id_to_token(id).unwrap_or_default());
        let merge_of = |merges: &[Merge]| match merges.get(num_equal) {
            Some(merge) => format!("the merge ({}, {})", token(merge.left), token(merge.right)),
            None => "no more merge".to_owned(),
        };
        return Err(Error::invalid(format!(
            "with ids as ranks the merges would be others: at position {num_equal} {} instead of {}; {REMEDY}",
            merge_of(&recovered.merges),
            merge_of(merges),
        )));
    }
    match recovered.never_made.first() {
        Some(&id) if !tokenizer.ignore_merges() => Err(Error::invalid(format!(
            "tiktoken would give id {id} to the pretoken {}, which no merge makes; {REMEDY}",
            shown(tokenizer.id_to_token(id).unwrap_or_default())
        ))),
        _ => Ok(ranks),
    }
}

struct Recovered {
    /// In the order of the ranks.
    merges: Vec<Merge>,
    /// Tokens of several bytes that no merge makes.
    never_made: Vec<u32>,
}

/// The merges by which tokens with these ranks, in ascending order, are made.
///
/// The shorter ones first: when a token's turn comes the pairs of all that can be a part of it are known, so that what
/// its parts join to is looked up by two numbers. Looked up by their bytes, and with a box for each token of the
/// vocabulary, loading cl100k took twice as long (201 and 97 ms).
fn recover(tokens: &[(u32, &[u8])], control: &Control) -> Result<Recovered> {
    let mut by_length: Vec<u32> = (0..tokens.len() as u32).collect();
    by_length.sort_by_key(|&index| tokens[index as usize].1.len());
    let mut pairs = Pairs::new(tokens.len());
    let mut parts = Parts::default();
    let mut made_of = vec![None; tokens.len()];
    control.begin("merge", tokens.len() as u64);
    for (number, index) in by_length.into_iter().enumerate() {
        if number % 1024 == 0 {
            control.check()?;
        }
        let token = tokens[index as usize].1;
        if token.len() > 1
            && let Some(pair) = parts.last_pair(token, &pairs)
        {
            made_of[index as usize] = Some(pair);
            pairs.insert(pair, 256 + index);
        }
    }
    let mut ranks_of_bytes = [NONE; 256]; // of one that is missing: no vocabulary is made without it
    for &(rank, token) in tokens {
        if let &[byte] = token {
            ranks_of_bytes[usize::from(byte)] = rank;
        }
    }
    let rank_of = |number: u32| match number.checked_sub(256) {
        Some(index) => tokens[index as usize].0,
        None => ranks_of_bytes[number as usize],
    };
    let mut recovered = Recovered { merges: Vec::with_capacity(tokens.len()), never_made: Vec::new() };
    for (&(rank, token), pair) in tokens.iter().zip(made_of) {
        match pair {
            Some((left, right)) => {
                recovered.merges.push(Merge { left: rank_of(left), right: rank_of(right), product: rank });
            }
            None if token.len() > 1 => recovered.never_made.push(rank),
            None => {}
        }
    }
    Ok(recovered)
}

/// Which token a pair makes. The 256 bytes are the numbers from 0, the tokens those from 256 in the order of their ranks.
struct Pairs {
    /// Of two bytes: half of what is looked up.
    of_bytes: Vec<u32>,
    of_tokens: FxHashMap<(u32, u32), u32>,
    /// A bit for each hash of a pair in the map. Most pairs make nothing, and this says so from a tenth of the memory.
    filter: Vec<u64>,
}

impl Pairs {
    fn new(num_tokens: usize) -> Self {
        let mut of_tokens = FxHashMap::default();
        of_tokens.reserve(num_tokens);
        let num_bits = (8 * num_tokens).next_power_of_two().max(64);
        Self { of_bytes: vec![NONE; 1 << 16], of_tokens, filter: vec![0; num_bits / 64] }
    }

    fn insert(&mut self, (left, right): (u32, u32), product: u32) {
        if (left | right) < 256 {
            self.of_bytes[(left << 8 | right) as usize] = product;
        } else {
            self.of_tokens.insert((left, right), product);
            let (word, bit) = self.filter_bit(left, right);
            self.filter[word] |= bit;
        }
    }

    fn product(&self, left: u32, right: u32) -> u32 {
        if (left | right) < 256 {
            return self.of_bytes[(left << 8 | right) as usize];
        }
        let (word, bit) = self.filter_bit(left, right);
        if self.filter[word] & bit == 0 { NONE } else { self.of_tokens.get(&(left, right)).copied().unwrap_or(NONE) }
    }

    fn filter_bit(&self, left: u32, right: u32) -> (usize, u64) {
        let hash = (u64::from(left) << 32 | u64::from(right)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        ((hash >> 6) as usize & (self.filter.len() - 1), 1 << (hash % 64))
    }
}

/// Room for the parts of a token, used again for the next one.
#[derive(Default)]
struct Parts {
    /// The number of each part.
    tokens: Vec<u32>,
    /// That of each part and the next one together, which orders them by rank.
    products: Vec<u32>,
}

impl Parts {
    /// The two parts that the last of the merges that make `token` joins; `None` if merges do not get there.
    fn last_pair(&mut self, token: &[u8], pairs: &Pairs) -> Option<(u32, u32)> {
        let Self { tokens, products } = self;
        tokens.clear();
        tokens.extend(token.iter().map(|&byte| u32::from(byte)));
        products.clear();
        products.extend(tokens.windows(2).map(|pair| pairs.product(pair[0], pair[1])));
        while tokens.len() > 2 {
            // The leftmost of equal ranks, as `min_by_key` has it.
            let (at, product) = products.iter().copied().enumerate().min_by_key(|(_, product)| *product)?;
            if product == NONE {
                return None;
            }
            tokens.remove(at + 1);
            products.remove(at);
            tokens[at] = product;
            if at + 1 < tokens.len() {
                products[at] = pairs.product(product, tokens[at + 1]);
            }
            if at > 0 {
                products[at - 1] = pairs.product(tokens[at - 1], product);
            }
        }
        Some((tokens[0], tokens[1]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    /// The 256 bytes, and then `tokens`.
    fn ranked<'t>(tokens: impl IntoIterator<Item = &'t [u8]>) -> Vec<(u32, &'t [u8])> {
        static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| (0..=255).collect());
        (0..).zip(BYTES.chunks(1).chain(tokens)).collect()
    }

    fn recovered(tokens: &[&str]) -> (Vec<String>, Vec<u32>) {
        let ranks = ranked(tokens.iter().map(|token| token.as_bytes()));
        let recovered = recover(&ranks, &Control::new()).unwrap();
        let spelt = |rank: u32| std::str::from_utf8(ranks[rank as usize].1).unwrap();
        let shown = |merge: &Merge| {
            let product = spelt(merge.product);
            assert_eq!(product, spelt(merge.left).to_owned() + spelt(merge.right));
            format!("{}|{}", spelt(merge.left), spelt(merge.right))
        };
        (recovered.merges.iter().map(shown).collect(), recovered.never_made)
    }

    /// The rule itself: the lowest rank of two neighbours' bytes together, until there are two parts.
    fn split_by_definition(token: &[u8], ranks: &HashMap<&[u8], u32>) -> Option<usize> {
        let mut bounds: Vec<usize> = (0..=token.len()).collect();
        while bounds.len() > 3 {
            let rank = |at: usize| ranks.get(&token[bounds[at]..bounds[at + 2]]);
            let at = (0..bounds.len() - 2).filter(|&at| rank(at).is_some()).min_by_key(|&at| rank(at))?;
            bounds.remove(at + 1);
        }
        Some(bounds[1])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn every_token_is_split_by_the_rule(
            tokens in prop::collection::vec(prop::collection::vec(97_u8..100, 2..9), 1..60),
        ) {
            let mut known = HashSet::new();
            let tokens: Vec<Vec<u8>> = tokens.into_iter().filter(|token| known.insert(token.clone())).collect();
            let ranks = ranked(tokens.iter().map(|token| &token[..]));
            let by_bytes: HashMap<&[u8], u32> = ranks.iter().map(|&(rank, token)| (token, rank)).collect();
            let recovered = recover(&ranks, &Control::new()).unwrap();
            let (mut merges, mut never_made) = (Vec::new(), Vec::new());
            for &(product, token) in &ranks[256..] {
                match split_by_definition(token, &by_bytes) {
                    Some(at) => {
                        let [left, right] = <[_; 2]>::from(token.split_at(at)).map(|part| by_bytes[part]);
                        merges.push(Merge { left, right, product });
                    }
                    None => never_made.push(product),
                }
            }
            prop_assert_eq!((recovered.merges, recovered.never_made), (merges, never_made));
        }
    }

    #[test]
    fn a_token_is_made_of_what_its_bytes_alone_come_to() {
        assert_eq!(recovered(&["ab", "abab", "aba"]).0, ["a|b", "ab|ab", "ab|a"]);
        // "bc" is joined before "ab" can be.
        assert_eq!(recovered(&["bc", "ab", "abc"]).0, ["b|c", "a|b", "a|bc"]);
        // Of equal ranks the leftmost.
        assert_eq!(recovered(&["aa", "aaa"]).0, ["a|a", "aa|a"]);
    }

    #[test]
    fn a_part_may_have_a_higher_rank_than_the_whole() {
        assert_eq!(recovered(&["abc", "ab"]).0, ["ab|c", "a|b"]);
    }

    #[test]
    fn what_comes_to_rest_in_more_than_two_parts_is_never_made() {
        assert_eq!(recovered(&["ab", "abcd"]), (vec!["a|b".to_owned()], vec![257]));
        assert_eq!(recovered(&["bc", "ab", "cd", "abcd"]).1, [259]);
    }
}
