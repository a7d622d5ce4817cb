//! One unit of work: some inputs to the shards of one task. It can be done any number of times, by anyone, with the
//! same bytes as the outcome; what is committed is not done again.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::documents::Tally;
use super::encoder::{Encoded, Encoder};
use super::output::{CrashPoint, Journal};
use super::pipeline::for_each_batch;
use super::quarantine::Quarantine;
use super::shard::{Committed, Entry, SPLITS, ShardLayout, ShardWriter};
use super::source::{Compression, Format, Source};
use crate::control::Control;
use crate::encode::{CacheGuard, Tokenizer};
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
    /// What is committed, for each of [`SPLITS`].
    pub committed: [Committed; 2],
}

/// What became of an input.
#[derive(Clone, Debug, Default, Serialize)]
pub struct InputReport {
    /// Its index among the inputs of the whole job.
    pub input: u64,
    /// Where its first record begins, and where its last one ends, in decompressed bytes; the same if there is none.
    pub begin: u64,
    #[expect(missing_docs, reason = "see above")]
    pub end: u64,
    /// Bytes of the file that were used, as they are on disk.
    pub file_bytes: u64,
    /// What the records and bytes were.
    #[serde(flatten)]
    pub tally: Tally,
    /// Special tokens in the text of documents.
    pub special_tokens: u64,
    /// Rejected records by reason.
    pub rejected_by_reason: BTreeMap<&'static str, u64>,
}

/// The last line of a task's journal.
#[derive(Debug, Serialize)]
pub struct TaskReport {
    kind: &'static str,
    task: u64,
    /// What became of each input, in order.
    pub inputs: Vec<InputReport>,
    quarantine_size_bytes: u64,
    quarantine_blake3: Option<String>,
}

impl TaskReport {
    /// As a JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings")
    }
}

/// Does what is left of a task.
///
/// # Errors
/// [`Error::Malformed`] for an input that is damaged, or that holds what is no document and `on_bad` is
/// [`OnBad::Fail`]; [`Error::Io`] and [`Error::Write`]; [`Error::Interrupted`]. All committed shards stay.
pub fn run_task(
    tokenizer: &Tokenizer,
    task: &Task,
    num_threads: usize,
    control: &Control,
    crash: &CrashPoint,
) -> Result<TaskReport> {
    task.check(tokenizer)?;
    remove_leftovers(task)?;
    let sources = task.sources();
    let encoder = Encoder::new(tokenizer, task, &sources, control)?;
    let layout = ShardLayout {
        directory: task.directory.clone(),
        task: task.task,
        writer: task.writer.clone(),
        is_narrow: tokenizer.vocab_size() <= 1 << 16,
        tokens_per_shard: task.tokens_per_shard,
        with_sources: task.with_sources,
    };
    let journal_path = task.directory.join("journal").join(format!("{:05}.jsonl", task.task));
    let mut writer = Writer {
        task,
        journal: Journal::open(&journal_path, task.journal_bytes, crash)?,
        splits: std::array::from_fn(|split| ShardWriter::new(&layout, SPLITS[split], &task.committed[split], crash)),
        quarantine: Quarantine::new(task, crash),
        reports: task.inputs.iter().map(|input| InputReport { input: input.input, ..InputReport::default() }).collect(),
        control,
    };
    control.begin("corpus", task.inputs.iter().map(|input| input.size_bytes).sum());
    for_each_batch(
        &sources,
        task.max_record_bytes,
        num_threads,
        control,
        || CacheGuard::new(tokenizer),
        |cache, source, batch| encoder.encode(cache, source, batch),
        |source, encoded| writer.write(source, &encoded),
    )?;
    writer.finish()
}

impl Task {
    /// From a JSON object with the fields of this type.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for one that is unknown, missing or of another type.
    pub fn from_json(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|error| Error::invalid(format!("the task is not understood: {error}")))
    }

    fn check(&self, tokenizer: &Tokenizer) -> Result<()> {
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

    fn sources(&self) -> Vec<Source> {
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

/// Removes the temporary files that a crash of this task left behind.
fn remove_leftovers(task: &Task) -> Result<()> {
    let of_shards = SPLITS.map(|split| format!(".{split}-{:05}-", task.task));
    let of_quarantine = format!(".{:05}.jsonl", task.task);
    for directory in [&task.directory, &task.directory.join("quarantine")] {
        for entry in fs::read_dir(directory).map_err(Error::io(directory))? {
            let entry = entry.map_err(Error::io(directory))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let mut prefixes = of_shards.iter().chain([&of_quarantine]);
            if name.contains(".tmp.") && prefixes.any(|prefix| name.starts_with(prefix)) {
                let _ = fs::remove_file(entry.path()); // it may be gone, and is in nobody's way
            }
        }
    }
    Ok(())
}

/// Takes encoded batches in order.
struct Writer<'t> {
    task: &'t Task,
    journal: Journal<'t>,
    splits: [ShardWriter<'t>; 2],
    quarantine: Quarantine<'t>,
    reports: Vec<InputReport>,
    control: &'t Control,
}

impl Writer<'_> {
    fn write(&mut self, source: usize, encoded: &Encoded) -> Result<()> {
        let report = &mut self.reports[source];
        if report.begin == report.end {
            report.begin = encoded.begin;
        }
        report.end = encoded.end;
        report.file_bytes += encoded.file_bytes;
        report.tally += encoded.tally;
        report.special_tokens += encoded.special_tokens;
        for reject in &encoded.rejects {
            *report.rejected_by_reason.entry(reject.reason.name()).or_default() += 1;
            self.quarantine.take(source, reject)?;
        }
        self.check_rejected()?;
        let mut start = 0;
        for document in &encoded.documents {
            let entry = Entry {
                input: self.task.inputs[source].input,
                offset: document.offset,
                text_bytes: document.text_bytes,
            };
            self.splits[document.split].push(entry, &encoded.ids[start..document.end], &mut self.journal)?;
            start = document.end;
        }
        self.control.produce(encoded.ids.len() as u64, encoded.rejects.len() as u64);
        Ok(())
    }

    fn check_rejected(&self) -> Result<()> {
        let rejected = self.reports.iter().map(|report| report.tally.rejected).sum::<u64>();
        match self.task.max_rejected {
            Some(most) if rejected > most => Err(Error::invalid(format!(
                "more than {most} records were rejected; look at what they are, and allow more with max_rejected"
            ))),
            _ => Ok(()),
        }
    }

    fn finish(mut self) -> Result<TaskReport> {
        for split in &mut self.splits {
            split.finish(&mut self.journal)?;
        }
        let quarantine = self.quarantine.finish()?;
        let report = TaskReport {
            kind: "task",
            task: self.task.task,
            inputs: self.reports,
            quarantine_size_bytes: quarantine.as_ref().map_or(0, |written| written.size_bytes),
            quarantine_blake3: quarantine.map(|written| written.blake3),
        };
        self.journal.append(&report)?;
        Ok(report)
    }
}
