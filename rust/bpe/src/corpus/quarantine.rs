//! What becomes of records that are no documents.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use super::documents::Reject;
use super::output::{CrashPoint, Output, Written};
use super::task::{OnBad, Task};
use crate::error::{Error, Result};
use crate::files::atomic::sync_directory;

/// Fails on rejected records, passes over them, or keeps them in a file.
pub(super) struct Quarantine<'t> {
    task: &'t Task,
    crash: &'t CrashPoint,
    output: Option<Output<'t>>,
}

#[derive(Serialize)]
struct QuarantineLine<'r> {
    reason: &'static str,
    detail: &'r str,
    input: u64,
    file: String,
    offset: u64,
    /// Of a table, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
    size_bytes: u64,
    /// In base64, the first megabyte of them.
    raw: String,
}

impl<'t> Quarantine<'t> {
    pub(super) fn new(task: &'t Task, crash: &'t CrashPoint) -> Self {
        Self { task, crash, output: None }
    }

    /// `first_record` is the number of the first record of the reject's batch in the whole source.
    pub(super) fn take(&mut self, source: usize, reject: &Reject, first_record: u64) -> Result<()> {
        let input = &self.task.inputs[source];
        let row = input.has_rows.then_some(first_record + reject.record);
        let name = input.name.clone().unwrap_or_else(|| input.path.to_string_lossy().into_owned());
        match self.task.on_bad {
            OnBad::Skip => Ok(()),
            OnBad::Fail => {
                let place =
                    row.map_or_else(|| format!("the record at byte {}", reject.offset), |row| format!("row {row}"));
                Err(Error::malformed(
                    name.as_ref(),
                    format!(
                        "{place} ({} bytes) is no document, {}: {}; mend it, or pass on_bad \"skip\" or \"quarantine\"",
                        reject.len,
                        reject.reason.name(),
                        reject.detail
                    ),
                ))
            }
            OnBad::Quarantine => {
                let line = QuarantineLine {
                    reason: reject.reason.name(),
                    detail: &reject.detail,
                    input: input.input,
                    file: name,
                    offset: reject.offset,
                    row,
                    size_bytes: reject.len,
                    raw: BASE64_STANDARD.encode(&reject.bytes),
                };
                let mut line = serde_json::to_vec(&line).map_err(|error| Error::invalid(error.to_string()))?;
                line.push(b'\n');
                self.output()?.push(&line)
            }
        }
    }

    fn output(&mut self) -> Result<&mut Output<'t>> {
        match &mut self.output {
            Some(output) => Ok(output),
            none => {
                let path = self.task.directory.join("quarantine").join(format!("{:05}.jsonl", self.task.task));
                Ok(none.insert(Output::create(&path, &self.task.writer, b"", self.crash)?))
            }
        }
    }

    pub(super) fn finish(mut self) -> Result<Option<Written>> {
        let Some(mut output) = self.output.take() else { return Ok(None) };
        let written = output.finish(b"")?;
        let path = output.publish()?;
        sync_directory(&path).map_err(Error::io(&path))?;
        Ok(Some(written))
    }
}
