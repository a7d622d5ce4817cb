//! GPT-2's pair of files: `vocab.json`, a map from spelt tokens to ids, and `merges.txt`, a merge a line.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::atomic::AtomicFile;
use super::byte_chars::{spell, unspell};
use super::{Contents, parse_json};
use crate::encode::Tokenizer;
use crate::error::{Error, Result};

/// Reads both files; the pattern is not among their contents. Tokens of the vocabulary that are among `special_tokens` are taken as they are written, all
/// others are spelt in GPT-2's alphabet.
///
/// # Errors
/// [`Error::Io`], and [`Error::Malformed`] with the line or the token at fault.
pub fn read(vocab_path: &Path, merges_path: &Path, special_tokens: &[String]) -> Result<Contents> {
    let bytes = fs::read(vocab_path).map_err(Error::io(vocab_path))?;
    let Entries(entries) = parse_json(vocab_path, &bytes)?;
    let specials: HashSet<&str> = special_tokens.iter().map(String::as_str).collect();
    let vocab = entries
        .into_iter()
        .map(|(spelling, id)| {
            if specials.contains(&*spelling) {
                return Ok((id, spelling.into_bytes()));
            }
            match unspell(&spelling) {
                Some(token) => Ok((id, token)),
                None => Err(Error::malformed(
                    vocab_path,
                    format!(
                        "token {spelling:?} (id {id}) holds characters that stand for no byte in GPT-2's alphabet; if it \
                         is a special token, name it among special_tokens"
                    ),
                )),
            }
        })
        .collect::<Result<_>>()?;
    let special_tokens = special_tokens.to_vec();
    Ok(Contents { vocab, merges: read_merges(merges_path)?.into(), special_tokens, ..Contents::default() })
}

/// The entries of a JSON object from tokens to ids, all of them: a map would silently keep one of two that are alike.
struct Entries(Vec<(String, u32)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object that maps tokens to ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(0));
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

fn read_merges(path: &Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let text = super::text::validated(path, &bytes, 0)?;
    let mut merges = Vec::new();
    for (number, line) in (1..).zip(text.split('\n')) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() || (number == 1 && line.starts_with("#version")) {
            continue;
        }
        let merge = line.split_once(' ').and_then(|(left, right)| Some((unspell(left)?, unspell(right)?)));
        match merge {
            Some((left, right)) if !left.is_empty() && !right.is_empty() => merges.push((left, right)),
            _ => {
                return Err(Error::malformed(
                    path,
                    format!(
                        "line {number} is {line:?}, expected two tokens in GPT-2's alphabet with one space between"
                    ),
                ));
            }
        }
    }
    Ok(merges)
}

/// Writes both files. The pattern is not part of this format, and which tokens are special is not either.
///
/// # Errors
/// [`Error::Io`], and [`Error::InvalidArgument`] for a special token that is written like another token is spelt.
pub fn write(tokenizer: &Tokenizer, vocab_path: &Path, merges_path: &Path) -> Result<()> {
    let spelt = spelt_vocab(tokenizer)?;
    let mut vocab = AtomicFile::create(vocab_path)?;
    let json = serde_json::to_string(&Value::Object(spelt)).expect("strings and numbers");
    vocab.write(json.as_bytes())?;
    let mut merges = AtomicFile::create(merges_path)?;
    merges.write(b"#version: 0.2\n")?;
    for (left, right) in tokenizer.spelt_merges() {
        merges.write(format!("{} {}\n", spell(left), spell(right)).as_bytes())?;
    }
    vocab.commit()?;
    merges.commit()
}

/// The vocabulary in the order of the ids; special tokens as they are, the others spelt.
pub(super) fn spelt_vocab(tokenizer: &Tokenizer) -> Result<Map<String, Value>> {
    let mut spelt = Map::new();
    let mut specials: Vec<(u32, &str)> = tokenizer.special_tokens().map(|(token, id)| (id, token)).collect();
    specials.sort_unstable();
    for (id, token) in tokenizer.vocab() {
        let spelling = match specials.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(index) => specials[index].1.to_owned(),
            Err(_) => spell(token),
        };
        if let Some(other) = spelt.insert(spelling.clone(), id.into()) {
            return Err(Error::invalid(format!(
                "the tokens of ids {other} and {id} would both be written {spelling:?}, of which one means a special \
                 token and the other GPT-2's spelling of bytes; this format cannot tell them apart: rename the special \
                 token"
            )));
        }
    }
    Ok(spelt)
}
