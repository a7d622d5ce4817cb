//! Class `Trainer`: counts texts as they come, then merges.

use std::path::PathBuf;

use bpe::{Pattern, SecondStage, TrainOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::error::to_py;
use crate::ids::whole;
use crate::parts::{extract_specials, merges_list, vocab_dict};
use crate::source::{Counted, Described, counted};
use crate::text::{strings, utf8s};
use crate::watch::{self, run_watched};

/// Counts the pretokens of files and texts, then learns merges from the counts, and both once more in a second stage if
/// that is begun. `train_bpe` and `train_superbpe` are made of it.
#[pyclass(module = "cs336._bpe")]
pub(crate) struct Trainer {
    stage: Stage,
    num_pretokens: Option<usize>,
}

#[allow(clippy::large_enum_variant, reason = "one for each training, hardly ever moved")]
enum Stage {
    First(bpe::Trainer),
    Second(bpe::SuperTrainer),
    Finished,
}

#[pymethods]
impl Trainer {
    #[new]
    #[pyo3(signature = (
        vocab_size, special_tokens, *, pattern="gpt2", num_threads=None, min_frequency=1, max_token_length=None
    ))]
    fn new(
        py: Python<'_>,
        vocab_size: &Bound<'_, PyAny>,
        special_tokens: &Bound<'_, PyAny>,
        pattern: &str,
        num_threads: Option<i64>,
        min_frequency: i64,
        max_token_length: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let vocab_size = whole("vocab_size", vocab_size)?;
        let options = TrainOptions {
            vocab_size: usize::try_from(vocab_size)
                .map_err(|_| PyValueError::new_err(format!("vocab_size must be positive, got {vocab_size}")))?,
            special_tokens: extract_specials(Some(special_tokens))?.into_iter().map(|(token, _)| token).collect(),
            pattern: Pattern::parse(pattern).map_err(|error| to_py(py, &error))?,
            num_threads: watch::num_threads(num_threads)?,
            min_frequency: positive("min_frequency", min_frequency)?,
            max_token_length: max_token_length
                .map(|length| positive("max_token_length", whole("max_token_length", length)?))
                .transpose()?
                .map_or(usize::MAX, |length| length as usize),
        };
        let core = bpe::Trainer::new(options).map_err(|error| to_py(py, &error))?;
        Ok(Self { stage: Stage::First(core), num_pretokens: None })
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
        let stage = self.stage()?;
        run_watched(py, progress, |control| match stage {
            Stage::First(trainer) => trainer.count_file(&path, weight, control),
            Stage::Second(trainer) => trainer.count_file(&path, weight, control),
            Stage::Finished => unreachable!("refused above"),
        })
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
        let stage = self.stage()?;
        let found = run_watched(py, progress, |control| match stage {
            Stage::First(trainer) => trainer.count_source(&source, policy, weight, control),
            Stage::Second(trainer) => trainer.count_source(&source, policy, weight, control),
            Stage::Finished => unreachable!("refused above"),
        });
        found.map(counted)
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
        let stage = self.stage()?;
        let py = texts.py();
        let texts = strings(texts, "texts")?;
        let texts = utf8s(&texts)?;
        run_watched(py, progress, |control| match stage {
            Stage::First(trainer) => trainer.count_texts(&texts, weight, control),
            Stage::Second(trainer) => trainer.count_texts(&texts, weight, control),
            Stage::Finished => unreachable!("refused above"),
        })
    }

    /// Add counts from a file, as if the texts were counted here.
    #[pyo3(signature = (path, *, progress=None))]
    fn add_counts(&mut self, py: Python<'_>, path: PathBuf, progress: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        match self.stage()? {
            Stage::First(trainer) => run_watched(py, progress, |control| trainer.add_counts(&path, control)),
            _ => {
                Err(PyValueError::new_err("counts are of pretokens; the second stage counts texts anew: give it those"))
            }
        }
    }

    /// Learn the merges up to a vocabulary of `transition_size`; what is counted from here on is counted for a second
    /// stage, whose pretokens are those of `pattern` in the tokens learned so far.
    #[pyo3(signature = (transition_size, *, pattern, max_token_words, forbidden, progress=None))]
    fn begin_second_stage(
        &mut self,
        py: Python<'_>,
        transition_size: &Bound<'_, PyAny>,
        pattern: &str,
        max_token_words: Option<i64>,
        forbidden: &Bound<'_, PyAny>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let transition_size = whole("transition_size", transition_size)?;
        let stage = SecondStage {
            transition_size: usize::try_from(transition_size).map_err(|_| {
                PyValueError::new_err(format!("transition_size must be positive, got {transition_size}"))
            })?,
            pattern: Pattern::parse(pattern).map_err(|error| to_py(py, &error))?,
            max_token_words: max_token_words
                .map_or(Ok(usize::MAX), |words| positive("max_token_words", words).map(|words| words as usize))?,
            forbidden: strings(forbidden, "forbidden")?
                .iter()
                .map(|text| Ok(text.to_str()?.to_owned()))
                .collect::<PyResult<_>>()?,
        };
        self.stage()?;
        match std::mem::replace(&mut self.stage, Stage::Finished) {
            Stage::First(trainer) => {
                let trainer = run_watched(py, progress, |control| trainer.finish_first_stage(stage, control))?;
                self.stage = Stage::Second(trainer);
                Ok(())
            }
            second => {
                self.stage = second;
                Err(PyValueError::new_err("the second stage has begun; it can be begun only once"))
            }
        }
    }

    /// Learn the merges: the vocabulary and the merges in order. The trainer cannot be used after it.
    #[pyo3(signature = (*, progress=None))]
    fn finish<'py>(
        &mut self,
        py: Python<'py>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyList>)> {
        self.stage()?;
        let stage = std::mem::replace(&mut self.stage, Stage::Finished);
        let trained = run_watched(py, progress, |control| match stage {
            Stage::First(trainer) => trainer.finish(control),
            Stage::Second(trainer) => trainer.finish(control),
            Stage::Finished => unreachable!("refused above"),
        })?;
        self.num_pretokens = Some(trained.num_pretokens);
        Ok((vocab_dict(py, trained.vocab)?, merges_list(py, trained.merges)?))
    }

    /// How many different pretokens there were; None until finished.
    #[getter]
    fn num_pretokens(&self) -> Option<usize> {
        self.num_pretokens
    }
}

pub(crate) fn positive(name: &str, value: i64) -> PyResult<u64> {
    u64::try_from(value)
        .ok()
        .filter(|&value| value > 0)
        .ok_or_else(|| PyValueError::new_err(format!("{name} must be at least 1, got {value}")))
}

impl Trainer {
    /// The stage, unless it is that of having finished.
    fn stage(&mut self) -> PyResult<&mut Stage> {
        match &mut self.stage {
            Stage::Finished => Err(PyValueError::new_err("this trainer has finished; start a new one")),
            stage => Ok(stage),
        }
    }
}
