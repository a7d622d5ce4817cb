//! Class `Counter`: counts texts into a file; and what is done with such files.

use std::borrow::Cow;
use std::path::PathBuf;

use bpe::{CountOptions, CountSummary, Pattern};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::to_py;
use crate::parts::extract_specials;
use crate::source::{Counted, Described, counted};
use crate::text::{strings, utf8};
use crate::train::positive;
use crate::watch::{self, run_watched};

/// Pattern, special tokens, number of distinct pretokens, bytes of text.
type Summary = (String, Vec<String>, u64, u64);

/// Counts the pretokens of files and texts into a file of counts, within a bound of memory.
#[pyclass(module = "cs336._bpe")]
pub(crate) struct Counter(Option<bpe::Counter>);

#[pymethods]
impl Counter {
    #[new]
    #[pyo3(signature = (out, special_tokens, *, pattern="gpt2", num_threads=None, memory_bytes))]
    fn new(
        py: Python<'_>,
        out: PathBuf,
        special_tokens: &Bound<'_, PyAny>,
        pattern: &str,
        num_threads: Option<i64>,
        memory_bytes: i64,
    ) -> PyResult<Self> {
        let options = CountOptions {
            special_tokens: extract_specials(Some(special_tokens))?.into_iter().map(|(token, _)| token).collect(),
            pattern: Pattern::parse(pattern).map_err(|error| to_py(py, &error))?,
            num_threads: watch::num_threads(num_threads)?,
            memory_bytes: positive("memory_bytes", memory_bytes)?,
        };
        Ok(Self(Some(bpe::Counter::create(&out, options).map_err(|error| to_py(py, &error))?)))
    }

    /// Count a UTF-8 text file, as if it were there `weight` times.
    #[pyo3(signature = (path, *, weight=1, progress=None))]
    fn count_file(
        &mut self,
        py: Python<'_>,
        path: PathBuf,
        weight: i64,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let weight = positive("weight", weight)?;
        let counter = self.counter()?;
        run_watched(py, progress, |control| counter.count_file(&path, weight, control))
    }

    /// Count the documents of a source, as if each were there `weight` times; tells what was read and what was rejected.
    #[pyo3(signature = (source, *, weight=1, progress=None))]
    fn count_source(
        &mut self,
        py: Python<'_>,
        source: Described,
        weight: i64,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Counted> {
        let weight = positive("weight", weight)?;
        let (source, policy) = source.parse()?;
        let counter = self.counter()?;
        run_watched(py, progress, |control| counter.count_source(&source, policy, weight, control)).map(counted)
    }

    /// Count texts, each for itself, as if they were there `weight` times.
    #[pyo3(signature = (texts, *, weight=1, progress=None))]
    fn count_texts(
        &mut self,
        texts: &Bound<'_, PyAny>,
        weight: i64,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let weight = positive("weight", weight)?;
        let counter = self.counter()?;
        let py = texts.py();
        let texts = strings(texts, "texts")?;
        let texts = texts.iter().map(utf8).collect::<PyResult<Vec<Cow<'_, str>>>>()?;
        run_watched(py, progress, |control| counter.count_texts(&texts, weight, control))
    }

    /// Write the file. The counter cannot be used after it.
    #[pyo3(signature = (*, progress=None))]
    fn finish(&mut self, py: Python<'_>, progress: Option<&Bound<'_, PyAny>>) -> PyResult<Summary> {
        self.counter()?;
        let counter = self.0.take().expect("there is one");
        run_watched(py, progress, |control| counter.finish(control)).map(parts)
    }
}

impl Counter {
    fn counter(&mut self) -> PyResult<&mut bpe::Counter> {
        self.0.as_mut().ok_or_else(|| PyValueError::new_err("this counter has finished; start a new one"))
    }
}

/// Add up files of counts.
#[pyfunction]
#[pyo3(signature = (inputs, out, *, progress=None))]
pub(crate) fn merge_counts(
    py: Python<'_>,
    inputs: Vec<PathBuf>,
    out: PathBuf,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Summary> {
    run_watched(py, progress, |control| bpe::merge_counts(&inputs, &out, control)).map(parts)
}

/// What is in a file of counts.
#[pyfunction]
pub(crate) fn read_count_summary(py: Python<'_>, path: PathBuf) -> PyResult<Summary> {
    bpe::read_count_summary(&path).map(parts).map_err(|error| to_py(py, &error))
}

fn parts(summary: CountSummary) -> Summary {
    let CountSummary { rules, num_pretokens, num_bytes } = summary;
    (rules.pattern, rules.special_tokens, num_pretokens, num_bytes)
}
