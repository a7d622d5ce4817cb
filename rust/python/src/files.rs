//! Vocabulary files, read into what the constructor of `Tokenizer` takes.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use bpe::Pattern;
use bpe::files;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::to_py;
use crate::parts::extract_specials;
use crate::watch::run_watched;

/// What a file holds, on its way to the constructor of `Tokenizer`, which takes it once.
#[pyclass(frozen, module = "cs336._bpe")]
pub(crate) struct Contents(Mutex<Option<files::Contents>>);

#[pymethods]
impl Contents {
    /// Whether it is known how to divide text: by the file or by its name.
    #[getter]
    fn has_pattern(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|known| known.pattern.is_some())
    }
}

impl Contents {
    fn new(contents: files::Contents) -> Self {
        Self(Mutex::new(Some(contents)))
    }

    pub(crate) fn take(&self) -> PyResult<files::Contents> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| PyValueError::new_err("these contents have been made a tokenizer; read the file again"))
    }
}

/// GPT-2's `vocab.json` and `merges.txt`. Special tokens stand in the former as they are.
#[pyfunction]
#[pyo3(signature = (vocab_path, merges_path, special_tokens=None))]
pub(crate) fn read_gpt2(
    py: Python<'_>,
    vocab_path: PathBuf,
    merges_path: PathBuf,
    special_tokens: Option<&Bound<'_, PyAny>>,
) -> PyResult<Contents> {
    let specials: Vec<String> = extract_specials(special_tokens)?.into_iter().map(|(token, _)| token).collect();
    let read = || files::gpt2::read(&vocab_path, &merges_path, &specials);
    py.detach(read).map(Contents::new).map_err(|error| to_py(py, &error))
}

/// A `tokenizer.json`; a pattern replaces the one in the file.
#[pyfunction]
#[pyo3(signature = (path, pattern=None))]
pub(crate) fn read_hf(py: Python<'_>, path: PathBuf, pattern: Option<&str>) -> PyResult<Contents> {
    let read = || files::hf::read(&path, pattern.map(Pattern::parse).transpose()?);
    py.detach(read).map(Contents::new).map_err(|error| to_py(py, &error))
}

/// A `.tiktoken` file; pattern and special tokens by its name, if that is known.
#[pyfunction]
pub(crate) fn read_tiktoken(py: Python<'_>, path: PathBuf) -> PyResult<Contents> {
    run_watched(py, None, |control| files::tiktoken::read(&path, control)).map(Contents::new)
}
