//! Hugging Face's `tokenizer.json`: everything in one file, the special tokens and the pattern too.
//!
//! Of that format's many models this reads and writes byte-level BPE: at most one `Split` by a pattern, the
//! `ByteLevel` alphabet, and added tokens that match literally. What does not change the ids is passed over, what would
//! change them and is not implemented is refused by name.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::atomic::AtomicFile;
use super::byte_chars::{spell, unspell};
use super::gpt2::spelt_vocab;
use super::onig::{from_onig, to_onig};
use super::{Contents, parse_json};
use crate::encode::Tokenizer;
use crate::error::{Error, Result};
use crate::split::Pattern;

/// Beside the pattern, where that had to be written otherwise for Hugging Face's engine: the pattern as it is here.
const OWN_PATTERN: &str = "cs336_pattern";

/// Writes the file. What is returned is the part of the pattern, if any, that Hugging Face's engine reads otherwise.
///
/// # Errors
/// [`Error::Io`], and [`Error::InvalidArgument`] for a special token that is written like another token is spelt.
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
    let merges: Vec<Value> =
        tokenizer.merges().iter().map(|(left, right)| json!([spell(left), spell(right)])).collect();
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

/// Reads the file. A `pattern` replaces that of the file, which is then not looked at. All added tokens become special
/// tokens, as all of them match literally wherever they stand. What a post-processor would add is not there.
///
/// # Errors
/// [`Error::Io`], and [`Error::Malformed`] for what is not byte-level BPE, naming the part that is in the way.
pub fn read(path: &Path, pattern: Option<Pattern>) -> Result<Contents> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let reader = Reader { path, file: parse_json(path, &bytes)? };
    reader.check_model()?;
    reader.check_surroundings()?;
    let special_tokens = reader.added_tokens()?;
    Ok(Contents {
        vocab: reader.vocab(&special_tokens)?,
        merges: reader.merges()?,
        pattern: Some(pattern.map_or_else(|| reader.pattern(), Ok)?),
        special_tokens,
        ignore_merges: reader.file.model.ignore_merges == true,
    })
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct File<'a> {
    #[serde(borrow)]
    model: Model<'a>,
    added_tokens: Option<Vec<Value>>,
    truncation: Value,
    padding: Value,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Model<'a> {
    r#type: Value,
    dropout: Value,
    continuing_subword_prefix: Value,
    end_of_word_suffix: Value,
    byte_fallback: Value,
    ignore_merges: Value,
    #[serde(borrow)]
    vocab: Entries<'a>,
    #[serde(borrow)]
    merges: Merges<'a>,
}

/// Borrowed from the file unless there are escapes in it.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The entries of `vocab`, if it is an object. Other models have a list there.
#[derive(Default)]
struct Entries<'a>(Option<Vec<(Text<'a>, Value)>>);

/// The items of `merges`, if it is a list.
#[derive(Default)]
struct Merges<'a>(Option<Vec<Merge<'a>>>);

/// `"a b"`, `["a", "b"]`, or neither.
enum Merge<'a> {
    Line(Cow<'a, str>),
    Pair(Text<'a>, Text<'a>),
    Neither,
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Found<'a>(Entries<'a>);

        impl<'de: 'a, 'a> Visitor<'de> for Found<'a> {
            type Value = Entries<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tokens to ids")
            }

            fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Entries<'a>, A::Error> {
                let entries = self.0.0.insert(Vec::new());
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(self.0)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries<'a>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(self.0)
            }
        }

        deserializer.deserialize_any(Found(Entries(None)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Merges<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<Vec<Merge<'a>>>::deserialize(deserializer).map(Merges)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Merge<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Found;

        impl<'de> Visitor<'de> for Found {
            type Value = Merge<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: a string or a pair of strings")
            }

            fn visit_borrowed_str<E>(self, line: &'de str) -> Result<Merge<'de>, E> {
                Ok(Merge::Line(Cow::Borrowed(line)))
            }

            fn visit_str<E>(self, line: &str) -> Result<Merge<'de>, E> {
                Ok(Merge::Line(Cow::Owned(line.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge<'de>, A::Error> {
                let parts = (seq.next_element()?, seq.next_element()?);
                let mut is_longer = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    is_longer = true;
                }
                match parts {
                    (Some(left), Some(right)) if !is_longer => Ok(Merge::Pair(left, right)),
                    _ => Ok(Merge::Neither),
                }
            }
        }

        deserializer.deserialize_any(Found)
    }
}

struct Reader<'a> {
    path: &'a Path,
    file: File<'a>,
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
            .error(format!("{part} is {seen}; only byte-level BPE without it can be read, as it would give other ids")))
    }

    fn check_model(&self) -> Result<()> {
        let model = &self.file.model;
        // Early files have no type.
        let is_bpe = model.r#type == "BPE" || (model.r#type.is_null() && model.merges.0.is_some());
        self.refuse_unless("model.type", is_bpe, &model.r#type)?;
        for (option, value) in [
            ("dropout", &model.dropout),
            ("continuing_subword_prefix", &model.continuing_subword_prefix),
            ("end_of_word_suffix", &model.end_of_word_suffix),
        ] {
            self.refuse_unless(&format!("model.{option}"), value.is_null() || *value == "" || *value == 0.0, value)?;
        }
        self.refuse_unless("model.byte_fallback", model.byte_fallback != true, &model.byte_fallback)
    }

    fn check_surroundings(&self) -> Result<()> {
        let file = &self.file;
        for (part, value) in [("truncation", &file.truncation), ("padding", &file.padding)] {
            self.refuse_unless(part, value.is_null(), value)?;
        }
        self.refuse_unless("normalizer", consists_of(&file.normalizer, "normalizers", &[]), &file.normalizer)?;
        // These add special tokens around a text if asked to, which `encode` does not.
        let processors = ["ByteLevel", "TemplateProcessing", "BertProcessing", "RobertaProcessing"];
        let is_known = consists_of(&file.post_processor, "processors", &processors);
        self.refuse_unless("post_processor", is_known, &file.post_processor)?;
        self.refuse_unless("decoder", consists_of(&file.decoder, "decoders", &["ByteLevel"]), &file.decoder)
    }

    fn added_tokens(&self) -> Result<Vec<String>> {
        let added = self.file.added_tokens.as_deref().unwrap_or_default();
        let mut tokens = Vec::with_capacity(added.len());
        for token in added {
            let Some(content) = token["content"].as_str() else {
                return Err(self.error(format!("added token {token} has no content")));
            };
            for flag in ["single_word", "lstrip", "rstrip"] {
                let part = format!("{flag} of added token {content:?}");
                self.refuse_unless(&part, token[flag] != true, &token[flag])?;
            }
            tokens.push(content.to_owned());
        }
        // Normalized ones are looked for where the others have left text over. That is the same unless they overlap.
        let is_normalized = |index: &usize| added[*index]["normalized"] == true;
        let (later, first): (Vec<usize>, Vec<usize>) = (0..added.len()).partition(is_normalized);
        for &later in &later {
            if let Some(&first) = first.iter().find(|&&first| can_overlap(&tokens[first], &tokens[later])) {
                let part = format!(
                    "normalized of added token {:?}, which can overlap with {:?},",
                    tokens[later], tokens[first]
                );
                self.refuse_unless(&part, false, &added[later]["normalized"])?;
            }
        }
        Ok(tokens)
    }

    fn vocab(&self, added: &[String]) -> Result<Vec<(u32, Vec<u8>)>> {
        let Some(entries) = &self.file.model.vocab.0 else {
            return Err(self.error("model.vocab is missing, expected a map from tokens to ids"));
        };
        let id_of = |value: &Value, token: &str| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| self.error(format!("token {token:?} has id {value}, expected a number from 0")))
        };
        let added_set: HashSet<&str> = added.iter().map(String::as_str).collect();
        let mut vocab = Vec::with_capacity(entries.len() + added.len());
        let mut known: Vec<(&str, u32)> = Vec::new();
        for (Text(spelling), id) in entries {
            let id = id_of(id, spelling)?;
            if added_set.contains(&**spelling) {
                known.push((spelling, id));
                vocab.push((id, spelling.as_bytes().to_vec()));
            } else if let Some(token) = unspell(spelling) {
                vocab.push((id, token));
            } else {
                return Err(self.error(format!("token {spelling:?} holds characters that stand for no byte")));
            }
        }
        for (content, token) in added.iter().zip(self.file.added_tokens.iter().flatten()) {
            let id = id_of(&token["id"], content)?;
            match known.iter().find(|(other, _)| other == content) {
                None => vocab.push((id, content.as_bytes().to_vec())),
                Some((_, other)) if *other == id => {}
                Some((_, other)) => {
                    return Err(self.error(format!(
                        "added token {content:?} has id {id}, but {other} in model.vocab; give it one id"
                    )));
                }
            }
        }
        Ok(vocab)
    }

    fn merges(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let Some(merges) = &self.file.model.merges.0 else {
            return Err(self.error("model.merges is missing, expected a list of merges"));
        };
        (0..)
            .zip(merges)
            .map(|(rank, merge)| {
                let parts = match merge {
                    Merge::Line(line) => line.split_once(' '),
                    Merge::Pair(Text(left), Text(right)) => Some((&**left, &**right)),
                    Merge::Neither => None,
                };
                parts.and_then(|(left, right)| Some((unspell(left)?, unspell(right)?))).ok_or_else(|| {
                    let seen = match merge {
                        Merge::Line(line) => format!("{line:?}"),
                        Merge::Pair(Text(left), Text(right)) => format!("{left:?}, {right:?}"),
                        Merge::Neither => "not two strings".to_owned(),
                    };
                    self.error(format!("merge {rank} is {seen}, expected two tokens in GPT-2's alphabet"))
                })
            })
            .collect()
    }

    fn pattern(&self) -> Result<Pattern> {
        let pre_tokenizer = &self.file.pre_tokenizer;
        let steps = match &pre_tokenizer["pretokenizers"] {
            Value::Array(steps) if pre_tokenizer["type"] == "Sequence" => &steps[..],
            _ => std::slice::from_ref(pre_tokenizer),
        };
        let is_byte_level = |step: &Value| step["type"] == "ByteLevel" && step["add_prefix_space"] != true;
        match steps {
            // The format's default is to use GPT-2's pattern.
            [only] if is_byte_level(only) && only["use_regex"] != false => Pattern::parse("gpt2"),
            [only] if is_byte_level(only) => Pattern::parse("(?s:.+)"),
            [split, bytes] if is_byte_level(bytes) && bytes["use_regex"] == false && split["type"] == "Split" => {
                self.split_pattern(split)
            }
            _ => self.refuse_unless("pre_tokenizer", false, pre_tokenizer).and_then(|()| Pattern::parse("gpt2")),
        }
    }

    fn split_pattern(&self, split: &Value) -> Result<Pattern> {
        let pattern = match (&split["pattern"]["Regex"], &split["pattern"]["String"]) {
            (Value::String(regex), _) => self.regex(regex, split)?,
            (_, Value::String(literal)) => Pattern::parse(&fancy_regex::escape(literal))?,
            _ => return Err(self.error(format!("the pattern of a Split is {}, expected a Regex", split["pattern"]))),
        };
        // A pattern with a name leaves nothing between its matches, so that there is nothing to remove.
        let is_isolating = split["behavior"] == "Isolated"
            || (split["behavior"] == "Removed" && split["invert"] == true && pattern.as_str() != pattern.regex());
        let part = if split["invert"] == true { "the inverted behavior of a Split" } else { "the behavior of a Split" };
        self.refuse_unless(part, is_isolating, &split["behavior"])?;
        Ok(pattern)
    }

    fn regex(&self, regex: &str, split: &Value) -> Result<Pattern> {
        if let Some(own) = split[OWN_PATTERN].as_str()
            && to_onig(own).as_deref().unwrap_or(own) == regex
        {
            return Pattern::parse(own);
        }
        let translated = from_onig(regex).map_err(|part| {
            self.error(format!(
                "{part} in the pattern {regex:?} means something else here than in Hugging Face's engine; say which \
                 pattern to use instead"
            ))
        })?;
        Pattern::parse(&translated)
    }
}

/// Whether `value` is null, one of `kinds`, or a `Sequence` of these under the name `list`.
fn consists_of(value: &Value, list: &str, kinds: &[&str]) -> bool {
    match &value[list] {
        Value::Array(items) if value["type"] == "Sequence" => items.iter().all(|item| consists_of(item, list, kinds)),
        _ => value.is_null() || kinds.iter().any(|kind| value["type"] == *kind),
    }
}

/// Whether two strings can stand in a text so that they share a character.
fn can_overlap(a: &str, b: &str) -> bool {
    let end_begins = |a: &str, b: &str| (0..a.len()).any(|at| b.as_bytes().starts_with(&a.as_bytes()[at..]));
    a.contains(b) || b.contains(a) || end_begins(a, b) || end_begins(b, a)
}
