//! What a task is told: inputs, options, and where it stands.

use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;

use super::shard::Committed;
use super::source::{Compression, Format, Source};
use crate::encode::Tokenizer;
use crate::error::{Error, Result};

/// What to do with a record that is no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBad {
    /// End with an error.
    Fail,
    /// Count it.
    Skip,
    /// Count it and keep it in a file beside the shards.
    Quarantine,
}

/// What special tokens in documents are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpecialText {
    /// Text like any other.
    Ordinary,
    /// Their ids.
    Special,
}

/// An input of a task.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskInput {
    /// Its index among the inputs of the whole job.
    pub input: u64,
    /// What to open.
    pub path: PathBuf,
    /// What to call it, if not by its path.
    pub name: Option<String>,
    /// `"text"` or `"jsonl"`.
    pub format: FormatName,
    /// `"none"`, `"gzip"` or `"zstd"`.
    pub compression: CompressionName,
    /// The records that begin in this range; all of them without.
    pub range: Option<(u64, u64)>,
    /// How many bytes of the file this is, for the progress.
    pub size_bytes: u64,
    /// Whether its lines stand for the rows of a table, so that documents are known by the number of their row, from 0.
    pub has_rows: bool,
}

/// As [`Format`], whose particulars are options of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "names of what is documented there")]
pub enum FormatName {
    Text,
    Jsonl,
}

/// As [`Compression`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "names of what is documented there")]
pub enum CompressionName {
    None,
    Gzip,
    Zstd,
}

/// A task and where it stands.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Its index.
    pub task: u64,
    /// What it reads, in order.
    pub inputs: Vec<TaskInput>,
    /// The corpus directory.
    pub directory: PathBuf,
    /// Tells the temporary files of several writers apart.
    pub writer: String,
    /// What stands between the documents of text; nothing if each file is one.
    pub separator: Option<String>,
    /// The key of the text in JSON lines.
    pub field: String,
    /// What to do with what is no document.
    pub on_bad: OnBad,
    /// How many records may be rejected before the task ends with an error.
    pub max_rejected: Option<u64>,
    /// Whether to repair what is not UTF-8 instead of rejecting it.
    pub replace_invalid_utf8: bool,
    /// A longer record is rejected.
    pub max_record_bytes: u64,
    /// What special tokens in documents are.
    pub special_text: SpecialText,
    /// The id after each document.
    pub eos_id: u32,
    /// Ids in a shard; only the last one of a split has fewer.
    pub tokens_per_shard: u64,
    /// Documents with a hash below this share of 2^64 are held out.
    pub valid_share: f64,
    /// The seed of that hash.
    pub split_seed: u64,
    /// Whether to note the input and offset of each document.
    pub with_sources: bool,
    /// Ends of the part of the journal that holds, in bytes.
    pub journal_bytes: u64,
    /// What is committed, for each of `SPLITS`.
    pub committed: [Committed; 2],
}

impl Task {
    /// From a JSON object with the fields of this type.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for one that is unknown, missing or of another type.
    pub fn from_json(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|error| Error::invalid(format!("the task is not understood: {error}")))
    }

    /// # Errors
    /// [`Error::InvalidArgument`] for numbers that make no sense.
    pub(super) fn check(&self, tokenizer: &Tokenizer) -> Result<()> {
        if self.eos_id >= tokenizer.vocab_size() {
            return Err(Error::invalid(format!(
                "eos_id must be an id of the vocabulary (0 to {}), got {}",
                tokenizer.vocab_size() - 1,
                self.eos_id
            )));
        }
        if self.tokens_per_shard == 0 || self.max_record_bytes == 0 {
            return Err(Error::invalid(format!(
                "tokens_per_shard and max_record_bytes must be at least 1, got {} and {}",
                self.tokens_per_shard, self.max_record_bytes
            )));
        }
        Ok(())
    }

    /// What it reads.
    pub(super) fn sources(&self) -> Vec<Source> {
        let source = |input: &TaskInput| Source {
            path: input.path.clone(),
            name: input.name.clone(),
            format: match input.format {
                FormatName::Text => {
                    Format::Text { separator: self.separator.as_ref().map(|separator| separator.clone().into_bytes()) }
                }
                FormatName::Jsonl => Format::Jsonl { field: self.field.clone() },
            },
            compression: match input.compression {
                CompressionName::None => Compression::None,
                CompressionName::Gzip => Compression::Gzip,
                CompressionName::Zstd => Compression::Zstd,
            },
            range: input.range.map(|(start, end)| Range { start, end }),
        };
        self.inputs.iter().map(source).collect()
    }
}
