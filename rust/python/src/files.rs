//! Vocabulary files, read into what the constructor of `Tokenizer` takes.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::error::to_py;
use crate::parts::{extract_specials, merges_list, vocab_dict};

type Vocab<'py> = Bound<'py, PyDict>;
type Merges<'py> = Bound<'py, PyList>;

/// Vocabulary and merges from GPT-2's `vocab.json` and `merges.txt`. Special tokens stand in the former as they are.
#[pyfunction]
#[pyo3(signature = (vocab_path, merges_path, special_tokens=None))]
pub(crate) fn read_gpt2<'py>(
    py: Python<'py>,
    vocab_path: PathBuf,
    merges_path: PathBuf,
    special_tokens: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Vocab<'py>, Merges<'py>)> {
    let specials = extract_specials(special_tokens)?;
    let read = || bpe::files::gpt2::read(&vocab_path, &merges_path, &specials);
    let (vocab, merges) = py.detach(read).map_err(|error| to_py(py, &error))?;
    Ok((vocab_dict(py, vocab)?, merges_list(py, &merges)?))
}

/// Vocabulary, merges, special tokens and pattern from a `tokenizer.json`.
#[pyfunction]
pub(crate) fn read_hf(py: Python<'_>, path: PathBuf) -> PyResult<(Vocab<'_>, Merges<'_>, Vec<String>, String)> {
    let read = py.detach(|| bpe::files::hf::read(&path)).map_err(|error| to_py(py, &error))?;
    let vocab = vocab_dict(py, read.vocab)?;
    Ok((vocab, merges_list(py, &read.merges)?, read.special_tokens, read.pattern.as_str().to_owned()))
}
