//! Class `Trainer`: counts texts as they come, then merges.

use std::borrow::Cow;
use std::path::PathBuf;

use bpe::{Pattern, TrainOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::error::to_py;
use crate::parts::{extract_specials, merges_list, vocab_dict};
use crate::text::{strings, utf8};
use crate::watch::{self, run_watched};

/// Counts the pretokens of files and texts, then learns merges from the counts. `train_bpe` is made of it.
#[pyclass(module = "cs336._bpe")]
pub(crate) struct Trainer {
    /// `None` once finished.
    core: Option<bpe::Trainer>,
}

#[pymethods]
impl Trainer {
    #[new]
    #[pyo3(signature = (vocab_size, special_tokens, *, pattern="gpt2", num_threads=None))]
    fn new(
        py: Python<'_>,
        vocab_size: i64,
        special_tokens: &Bound<'_, PyAny>,
        pattern: &str,
        num_threads: Option<i64>,
    ) -> PyResult<Self> {
        let options = TrainOptions {
            vocab_size: usize::try_from(vocab_size)
                .map_err(|_| PyValueError::new_err(format!("vocab_size must be positive, got {vocab_size}")))?,
            special_tokens: extract_specials(Some(special_tokens))?.into_iter().map(|(token, _)| token).collect(),
            pattern: Pattern::parse(pattern).map_err(|error| to_py(py, &error))?,
            num_threads: watch::num_threads(num_threads)?,
        };
        let core = bpe::Trainer::new(options).map_err(|error| to_py(py, &error))?;
        Ok(Self { core: Some(core) })
    }

    /// Count a UTF-8 text file.
    #[pyo3(signature = (path, *, progress=None))]
    fn count_file(&mut self, py: Python<'_>, path: PathBuf, progress: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let core = self.core()?;
        run_watched(py, progress, |control| core.count_file(&path, control))
    }

    /// Count texts, each for itself.
    #[pyo3(signature = (texts, *, progress=None))]
    fn count_texts(&mut self, texts: &Bound<'_, PyAny>, progress: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let core = self.core()?;
        let py = texts.py();
        let texts = strings(texts, "texts")?;
        let texts = texts.iter().map(utf8).collect::<PyResult<Vec<Cow<'_, str>>>>()?;
        run_watched(py, progress, |control| core.count_texts(&texts, control))
    }

    /// Learn the merges: the vocabulary and the merges in order. The trainer cannot be used after it.
    #[pyo3(signature = (*, progress=None))]
    fn finish<'py>(
        &mut self,
        py: Python<'py>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyList>)> {
        self.core()?;
        let core = self.core.take().expect("checked the line before");
        let trained = run_watched(py, progress, |control| core.finish(control))?;
        Ok((vocab_dict(py, trained.vocab)?, merges_list(py, &trained.merges)?))
    }
}

impl Trainer {
    fn core(&mut self) -> PyResult<&mut bpe::Trainer> {
        self.core.as_mut().ok_or_else(|| PyValueError::new_err("this trainer has finished; start a new one"))
    }
}
