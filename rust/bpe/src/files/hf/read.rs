//! Reading a `tokenizer.json`: what changes the ids and is not implemented is refused by name.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::super::byte_chars::unspell;
use super::super::onig::{from_onig, to_onig};
use super::super::{Contents, parse_json};
use super::OWN_PATTERN;
use super::document::{File, Merge, Text};
use crate::error::{Error, Result};
use crate::split::Pattern;

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
        merges: reader.merges()?.into(),
        pattern: Some(pattern.map_or_else(|| reader.pattern(), Ok)?),
        special_tokens,
        ignore_merges: reader.file.model.ignore_merges == true,
        never_made: None,
    })
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
        let mut known: HashMap<&str, u32> = HashMap::new();
        for (Text(spelling), id) in entries {
            let id = id_of(id, spelling)?;
            if added_set.contains(&**spelling) {
                known.insert(spelling, id);
                vocab.push((id, spelling.as_bytes().to_vec()));
            } else if let Some(token) = unspell(spelling) {
                vocab.push((id, token));
            } else {
                return Err(self.error(format!("token {spelling:?} holds characters that stand for no byte")));
            }
        }
        for (content, token) in added.iter().zip(self.file.added_tokens.iter().flatten()) {
            let id = id_of(&token["id"], content)?;
            match known.get(&**content) {
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
