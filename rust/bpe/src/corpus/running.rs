//! Doing a task: some inputs to the shards of one task. It can be done any number of times, by anyone, with the same
//! bytes as the outcome; what is committed is not done again.

use std::collections::BTreeMap;

use serde::Serialize;

use super::documents::Tally;
use super::encoder::{Encoded, Encoder};
use super::ids::IdType;
use super::output::{CrashPoint, Journal};
use super::pipeline::for_each_batch;
use super::quarantine::Quarantine;
use super::shard::{Entry, SPLITS, ShardLayout, ShardWriter, remove_temporary};
use super::task::{Task, TaskInput};
use crate::control::Control;
use crate::encode::Tokenizer;
use crate::error::{Error, Result};

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
/// `OnBad::Fail`; [`Error::Io`] and [`Error::Write`]; [`Error::Interrupted`]. All committed shards stay.
pub fn run_task(
    tokenizer: &Tokenizer,
    task: &Task,
    num_threads: usize,
    control: &Control,
    crash: &CrashPoint,
) -> Result<TaskReport> {
    task.check(tokenizer)?;
    for split in SPLITS {
        remove_temporary(&task.directory, &format!(".{split}-{:05}-", task.task))?;
    }
    remove_temporary(&task.directory.join("quarantine"), &format!(".{:05}.jsonl", task.task))?;
    let sources = task.sources();
    let encoder = Encoder::new(tokenizer, task, &sources, control)?;
    let layout = ShardLayout {
        directory: task.directory.clone(),
        task: task.task,
        writer: task.writer.clone(),
        id_type: IdType::of(tokenizer),
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
        id_type: layout.id_type,
        control,
    };
    control.begin("corpus", task.inputs.iter().map(|input| input.size_bytes).sum());
    for_each_batch(
        &sources,
        task.max_record_bytes,
        num_threads,
        control,
        || encoder.new_state(),
        |state, source, batch| encoder.encode(state, source, batch),
        |source, encoded| {
            writer.write(source, &encoded)?;
            encoder.reuse(encoded);
            Ok(())
        },
    )?;
    writer.finish()
}

/// Takes encoded batches in order.
struct Writer<'t> {
    task: &'t Task,
    journal: Journal<'t>,
    splits: [ShardWriter<'t>; 2],
    quarantine: Quarantine<'t>,
    reports: Vec<InputReport>,
    id_type: IdType,
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
        let first_record = report.tally.records();
        report.tally += encoded.tally;
        report.special_tokens += encoded.special_tokens;
        for reject in &encoded.rejects {
            *report.rejected_by_reason.entry(reject.reason.name()).or_default() += 1;
            self.quarantine.take(source, reject, first_record)?;
        }
        self.check_rejected()?;
        let num_ids = (encoded.ids.len() / self.id_type.width()) as u64;
        let mut start = 0;
        for document in &encoded.documents {
            let TaskInput { input, has_rows, .. } = self.task.inputs[source];
            let where_in_it = if has_rows { first_record + document.record } else { document.offset };
            let entry = Entry {
                place: (input, document.offset),
                source: [input, where_in_it],
                text_bytes: document.text_bytes,
            };
            self.splits[document.split].push(entry, &encoded.ids[start..document.end], &self.journal)?;
            start = document.end;
        }
        self.control.produce(num_ids, encoded.rejects.len() as u64);
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
            split.finish(&self.journal)?;
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
