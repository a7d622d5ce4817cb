//! Hugging Face's `tokenizer.json`: everything in one file, the special tokens and the pattern too.
//!
//! Of that format's many models this reads and writes byte-level BPE: at most one `Split` by a pattern, the
//! `ByteLevel` alphabet, and added tokens that match literally. What does not change the ids is passed over, what would
//! change them and is not implemented is refused by name.

mod document;
mod read;

use std::path::Path;

use serde_json::{Value, json};

pub use self::read::read;
use super::atomic::AtomicFile;
use super::byte_chars::spell;
use super::gpt2::spelt_vocab;
use super::onig::to_onig;
use crate::encode::Tokenizer;
use crate::error::Result;
use crate::split::Pattern;

/// Beside the pattern, where that had to be written otherwise for Hugging Face's engine: the pattern as it is here.
const OWN_PATTERN: &str = "cs336_pattern";

/// Writes the file. What is returned is the part of the pattern, if any, that Hugging Face's engine reads otherwise.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io), and [`Error::InvalidArgument`](crate::Error::InvalidArgument) for a special token
/// that is written like another token is spelt.
pub fn write(tokenizer: &Tokenizer, path: &Path) -> Result<Option<&'static str>> {
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
    let merges: Vec<Value> = tokenizer.spelt_merges().map(|(left, right)| json!([spell(left), spell(right)])).collect();
    let vocab = spelt_vocab(tokenizer)?;
    let (pre_tokenizer, read_otherwise) = pre_tokenizer(tokenizer.pattern());
    let contents = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": null,
        "decoder": byte_level(false),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": tokenizer.ignore_merges(), "vocab": vocab, "merges": merges,
        },
    });
    let mut file = AtomicFile::create(path)?;
    file.write(serde_json::to_string_pretty(&contents).expect("strings and numbers").as_bytes())?;
    file.write(b"\n")?;
    file.commit()?;
    Ok(read_otherwise)
}

/// The format has GPT-2's pattern built in, and readers know it best in that form (one gave other ids for the same
/// pattern spelt out, another refused it); any other pattern is a `Split`.
fn pre_tokenizer(pattern: &Pattern) -> (Value, Option<&'static str>) {
    if pattern.as_str() == "gpt2" {
        return (byte_level(true), None);
    }
    let (split, read_otherwise) = split(pattern.regex());
    (json!({ "type": "Sequence", "pretokenizers": [split, byte_level(false)] }), read_otherwise)
}

fn split(regex: &str) -> (Value, Option<&'static str>) {
    let (written, read_otherwise) = match to_onig(regex) {
        Ok(translated) => (translated, None),
        Err(part) => (regex.to_owned(), Some(part)),
    };
    let mut split = json!({
        "type": "Split", "pattern": { "Regex": written }, "behavior": "Isolated", "invert": false,
    });
    if written != regex || read_otherwise.is_some() {
        split[OWN_PATTERN] = regex.into();
    }
    (split, read_otherwise)
}

fn byte_level(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}
