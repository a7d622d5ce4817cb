//! The tasks of a corpus: told and reported in JSON, done in Rust.

use std::path::PathBuf;

use bpe::corpus::{CrashPoint, Shuffle, Task, run_shuffle, run_task};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::to_py;
use crate::tokenizer::Tokenizer;
use crate::watch::{self, run_reporting, run_watched};

/// Do what is left of a task of a corpus, as `cs336.corpus` plans it, and return its report, both as JSON.
///
/// `progress` is called as `progress(bytes done, bytes in all, ids made, records rejected)`. `crash_at` ends the process
/// at a step of the way to disk: for tests of what a crash leaves behind.
#[pyfunction]
#[pyo3(signature = (tokenizer, task, *, num_threads=None, progress=None, crash_at=None))]
pub(crate) fn run_corpus_task(
    py: Python<'_>,
    tokenizer: &Bound<'_, Tokenizer>,
    task: &str,
    num_threads: Option<i64>,
    progress: Option<&Bound<'_, PyAny>>,
    crash_at: Option<u64>,
) -> PyResult<String> {
    let task = Task::from_json(task).map_err(|error| to_py(py, &error))?;
    let num_threads = watch::num_threads(num_threads)?;
    let crash = crash_at.map_or_else(CrashPoint::default, CrashPoint::at);
    let tokenizer = &tokenizer.get().core;
    let report = |at: bpe::Progress| match progress {
        Some(progress) => progress.call1((at.done, at.total, at.tokens, at.rejected)).map(drop),
        None => Ok(()),
    };
    run_reporting(py, report, |control| run_task(tokenizer, &task, num_threads, control, &crash))
        .map(|report| report.to_json())
}

/// Do what is left of shuffling a split of a corpus, as `cs336.corpus` describes it in JSON.
///
/// `progress` is called as `progress("shuffle", ids done, ids in all)`, each id twice. `crash_at` is as above.
#[pyfunction]
#[pyo3(signature = (tokenizer, shuffle, *, num_threads=None, progress=None, crash_at=None))]
pub(crate) fn run_corpus_shuffle(
    py: Python<'_>,
    tokenizer: &Bound<'_, Tokenizer>,
    shuffle: &str,
    num_threads: Option<i64>,
    progress: Option<&Bound<'_, PyAny>>,
    crash_at: Option<u64>,
) -> PyResult<()> {
    let shuffle = Shuffle::from_json(shuffle).map_err(|error| to_py(py, &error))?;
    let num_threads = watch::num_threads(num_threads)?;
    let crash = crash_at.map_or_else(CrashPoint::default, CrashPoint::at);
    let tokenizer = &tokenizer.get().core;
    run_watched(py, progress, |control| run_shuffle(tokenizer, &shuffle, num_threads, control, &crash))
}

/// The size and the BLAKE3 hash, in hexadecimal, of a whole file.
#[pyfunction]
pub(crate) fn hash_file(py: Python<'_>, path: PathBuf) -> PyResult<(u64, String)> {
    py.detach(|| bpe::corpus::hash_file(&path)).map_err(|error| to_py(py, &error))
}

/// Write a whole file: under its name it is there completely, and on disk, or not at all.
#[pyfunction]
pub(crate) fn write_file(py: Python<'_>, path: PathBuf, content: &Bound<'_, PyBytes>) -> PyResult<()> {
    let content = content.as_bytes();
    py.detach(|| bpe::files::write_file(&path, content)).map_err(|error| to_py(py, &error))
}
