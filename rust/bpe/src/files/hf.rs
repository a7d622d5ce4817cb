//! Hugging Face's `tokenizer.json`: everything in one file, the special tokens and the pattern too.
//!
//! Of that format's many models this reads and writes byte-level BPE: a `Split` by the pattern, the `ByteLevel`
//! alphabet, and added tokens that match literally.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::atomic::AtomicFile;
use super::byte_chars::unspell;
use super::gpt2::spelt_vocab;
use super::parse_json;
use crate::encode::Tokenizer;
use crate::error::{Error, Result};
use crate::split::Pattern;

/// What a `tokenizer.json` holds; the arguments of [`Tokenizer::new`].
#[derive(Clone, Debug)]
pub struct Contents {
    /// Ids and tokens.
    pub vocab: Vec<(u32, Vec<u8>)>,
    /// By rank.
    pub merges: Vec<(Vec<u8>, Vec<u8>)>,
    /// In the order of the file.
    pub special_tokens: Vec<String>,
    /// The regular expression of the `Split`, or GPT-2's.
    pub pattern: Pattern,
}

/// Writes the file.
///
/// # Errors
/// [`Error::Io`], and [`Error::InvalidArgument`] for a special token that is written like another token is spelt.
pub fn write(tokenizer: &Tokenizer, path: &Path) -> Result<()> {
    let mut added: Vec<(u32, &str)> = tokenizer.special_tokens().map(|(token, id)| (id, token)).collect();
    added.sort_unstable();
    let added: Vec<Value> = added
        .into_iter()
        .map(|(id, content)| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect();
    let merges: Vec<Value> = tokenizer
        .merges()
        .iter()
        .map(|(left, right)| json!([super::byte_chars::spell(left), super::byte_chars::spell(right)]))
        .collect();
    let vocab = spelt_vocab(tokenizer)?;
    let contents = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split", "pattern": { "Regex": tokenizer.pattern().regex() },
                    "behavior": "Isolated", "invert": false,
                },
                byte_level(),
            ],
        },
        "post_processor": null,
        "decoder": byte_level(),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges,
        },
    });
    let mut file = AtomicFile::create(path)?;
    file.write(serde_json::to_string_pretty(&contents).expect("strings and numbers").as_bytes())?;
    file.write(b"\n")?;
    file.commit()
}

fn byte_level() -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false })
}

/// Reads the file.
///
/// # Errors
/// [`Error::Io`], and [`Error::Malformed`] for what is not byte-level BPE, naming the part that is in the way.
pub fn read(path: &Path) -> Result<Contents> {
    let contents: Value = parse_json(path, &fs::read(path).map_err(Error::io(path))?)?;
    let reader = Reader { path, contents: &contents };
    let special_tokens = reader.special_tokens()?;
    Ok(Contents {
        vocab: reader.vocab(&special_tokens)?,
        merges: reader.merges()?,
        pattern: reader.pattern()?,
        special_tokens,
    })
}

struct Reader<'a> {
    path: &'a Path,
    contents: &'a Value,
}

impl Reader<'_> {
    fn error(&self, message: impl Into<String>) -> Error {
        Error::malformed(self.path, message)
    }

    /// Refuses what would change the ids and is not implemented.
    fn refuse_unless(&self, part: &str, is_known: bool, seen: &Value) -> Result<()> {
        if is_known {
            return Ok(());
        }
        let mut seen = seen.to_string();
        if seen.len() > 100 {
            seen.truncate((0..=100).rev().find(|&at| seen.is_char_boundary(at)).unwrap_or(0));
            seen.push('…');
        }
        Err(self
            .error(format!("{part} is {seen}, which byte-level BPE does not have; only such tokenizers can be read")))
    }

    fn special_tokens(&self) -> Result<Vec<String>> {
        let Some(added) = self.contents["added_tokens"].as_array() else { return Ok(Vec::new()) };
        added
            .iter()
            .map(|token| {
                for flag in ["single_word", "lstrip", "rstrip"] {
                    self.refuse_unless(&format!("{flag} of an added token"), token[flag] != true, &token[flag])?;
                }
                match token["content"].as_str() {
                    Some(content) => Ok(content.to_owned()),
                    None => Err(self.error(format!("added token {token} has no content"))),
                }
            })
            .collect()
    }

    fn vocab(&self, special_tokens: &[String]) -> Result<Vec<(u32, Vec<u8>)>> {
        let model = &self.contents["model"];
        self.refuse_unless("model.type", model["type"] == "BPE", &model["type"])?;
        for option in ["dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"] {
            let value = &model[option];
            self.refuse_unless(&format!("model.{option}"), value.is_null() || *value == "" || *value == 0.0, value)?;
        }
        for option in ["byte_fallback", "ignore_merges"] {
            self.refuse_unless(&format!("model.{option}"), model[option] != true, &model[option])?;
        }
        self.refuse_unless("normalizer", self.contents["normalizer"].is_null(), &self.contents["normalizer"])?;
        let Some(entries) = model["vocab"].as_object() else {
            return Err(self.error("model.vocab is missing, expected a map from tokens to ids"));
        };
        let id_of = |value: &Value, token: &str| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| self.error(format!("token {token:?} has id {value}, expected a number from 0")))
        };
        let mut vocab = Vec::with_capacity(entries.len());
        for (spelling, id) in entries {
            let token =
                if special_tokens.contains(spelling) { Some(spelling.clone().into_bytes()) } else { unspell(spelling) };
            let Some(token) = token else {
                return Err(self.error(format!("token {spelling:?} holds characters that stand for no byte")));
            };
            vocab.push((id_of(id, spelling)?, token));
        }
        for token in self.contents["added_tokens"].as_array().into_iter().flatten() {
            let content = token["content"].as_str().unwrap_or_default();
            let id = id_of(&token["id"], content)?;
            match entries.get(content) {
                None => vocab.push((id, content.as_bytes().to_vec())),
                Some(other) if *other == id => {}
                Some(other) => {
                    return Err(self.error(format!(
                        "added token {content:?} has id {id}, but {other} in model.vocab; give it one id"
                    )));
                }
            }
        }
        Ok(vocab)
    }

    fn merges(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let Some(merges) = self.contents["model"]["merges"].as_array() else {
            return Err(self.error("model.merges is missing, expected a list of merges"));
        };
        (0..)
            .zip(merges)
            .map(|(rank, merge)| {
                let parts = match merge {
                    Value::String(line) => line.split_once(' '),
                    Value::Array(pair) if pair.len() == 2 => pair[0].as_str().zip(pair[1].as_str()),
                    _ => None,
                };
                parts.and_then(|(left, right)| Some((unspell(left)?, unspell(right)?))).ok_or_else(|| {
                    self.error(format!("merge {rank} is {merge}, expected two tokens in GPT-2's alphabet"))
                })
            })
            .collect()
    }

    fn pattern(&self) -> Result<Pattern> {
        let pre_tokenizer = &self.contents["pre_tokenizer"];
        let steps = match &pre_tokenizer["pretokenizers"] {
            Value::Array(steps) if pre_tokenizer["type"] == "Sequence" => &steps[..],
            _ => std::slice::from_ref(pre_tokenizer),
        };
        let is_byte_level = |step: &Value| step["type"] == "ByteLevel" && step["add_prefix_space"] != true;
        match steps {
            // The format's default is to use GPT-2's pattern.
            [only] if is_byte_level(only) && only["use_regex"] != false => Pattern::parse("gpt2"),
            [split, bytes]
                if is_byte_level(bytes)
                    && bytes["use_regex"] == false
                    && split["type"] == "Split"
                    && split["behavior"] == "Isolated"
                    && split["invert"] != true
                    && split["pattern"]["Regex"].is_string() =>
            {
                Pattern::parse(split["pattern"]["Regex"].as_str().expect("a string by the guard"))
            }
            _ => self.refuse_unless("pre_tokenizer", false, pre_tokenizer).and_then(|()| Pattern::parse("gpt2")),
        }
    }
}
