//! Class `Tokenizer`: an immutable vocabulary that any number of threads may use.

use std::borrow::Cow;
use std::path::PathBuf;

use bpe::{MAX_VOCAB_SIZE, Pattern};
use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::error::to_py;
use crate::ids::{self, IdObjects};
use crate::iterate::EncodeIterator;
use crate::text::{strings, utf8};
use crate::watch::{LONG_BYTES, num_threads, run_sized, run_watched};

#[pyclass(frozen, subclass, module = "cs336._bpe")]
pub(crate) struct Tokenizer {
    pub(crate) core: bpe::Tokenizer,
    pub(crate) ids: IdObjects,
}

#[pymethods]
impl Tokenizer {
    #[new]
    #[pyo3(signature = (vocab, merges, special_tokens=None, *, pattern="gpt2"))]
    fn new(
        py: Python<'_>,
        vocab: &Bound<'_, PyDict>,
        merges: &Bound<'_, PyAny>,
        special_tokens: Option<&Bound<'_, PyAny>>,
        pattern: &str,
    ) -> PyResult<Self> {
        let vocab = extract_vocab(vocab)?;
        let merges = extract_merges(merges)?;
        let special_tokens = extract_specials(special_tokens)?;
        let build = || bpe::Tokenizer::new(vocab, merges, &special_tokens, Pattern::parse(pattern)?);
        let core = py.detach(build).map_err(|error| to_py(py, &error))?;
        let ids = IdObjects::new(py, core.vocab_size())?;
        Ok(Self { core, ids })
    }

    #[pyo3(signature = (text, *, num_threads=None))]
    fn encode<'py>(&self, text: &Bound<'py, PyString>, num_threads: Option<i64>) -> PyResult<Bound<'py, PyList>> {
        self.ids.list(text.py(), &self.encode_ids(text, num_threads)?)
    }

    #[pyo3(signature = (text, *, num_threads=None))]
    fn encode_array<'py>(
        &self,
        text: &Bound<'py, PyString>,
        num_threads: Option<i64>,
    ) -> PyResult<Bound<'py, PyArray1<u32>>> {
        Ok(self.encode_ids(text, num_threads)?.into_pyarray(text.py()))
    }

    #[pyo3(signature = (texts, num_threads=None))]
    fn encode_batch<'py>(&self, texts: &Bound<'py, PyAny>, num_threads: Option<i64>) -> PyResult<Bound<'py, PyList>> {
        let py = texts.py();
        let texts = strings(texts, "texts")?;
        let texts = texts.iter().map(utf8).collect::<PyResult<Vec<Cow<'_, str>>>>()?;
        let size_bytes = texts.iter().map(|text| text.len()).sum();
        let threads = threads_for(size_bytes, num_threads)?;
        let batch = run_sized(py, size_bytes, |control| self.core.encode_batch(&texts, threads, control))?;
        let out = PyList::empty(py);
        for ids in &batch {
            out.append(self.ids.list(py, ids)?)?;
        }
        Ok(out)
    }

    fn encode_iterable(slf: &Bound<'_, Self>, strings: &Bound<'_, PyAny>) -> PyResult<EncodeIterator> {
        EncodeIterator::new(slf, strings)
    }

    #[pyo3(signature = (src, dst, *, num_threads=None, progress=None))]
    fn encode_to_npy(
        &self,
        py: Python<'_>,
        src: PathBuf,
        dst: PathBuf,
        num_threads: Option<i64>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(u64, u64, u64, &'static str)> {
        let threads = crate::watch::num_threads(num_threads)?;
        let stats = run_watched(py, progress, |control| self.core.encode_file(&src, &dst, threads, control))?;
        Ok((stats.num_tokens, stats.num_bytes, stats.num_special_tokens, stats.dtype))
    }

    fn decode<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
        let py = ids.py();
        let bytes = self.decode_ids(ids)?;
        if std::str::from_utf8(&bytes).is_ok() {
            return PyString::from_bytes(py, &bytes);
        }
        PyString::from_encoded_object(to_bytes(py, &bytes)?.as_any(), Some(c"utf-8"), Some(c"replace"))
    }

    fn decode_bytes<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        to_bytes(ids.py(), &self.decode_ids(ids)?)
    }

    fn write_hf(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| bpe::files::hf::write(&self.core, &path)).map_err(|error| to_py(py, &error))
    }

    fn write_gpt2(&self, py: Python<'_>, vocab_path: PathBuf, merges_path: PathBuf) -> PyResult<()> {
        py.detach(|| bpe::files::gpt2::write(&self.core, &vocab_path, &merges_path)).map_err(|error| to_py(py, &error))
    }

    #[getter]
    fn vocab_size(&self) -> u32 {
        self.core.vocab_size()
    }

    #[getter]
    fn vocab<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        vocab_dict(py, self.core.vocab())
    }

    #[getter]
    fn merges<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        merges_list(py, self.core.merges())
    }

    #[getter]
    fn special_tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        for (token, id) in self.core.special_tokens() {
            out.set_item(token, id)?;
        }
        Ok(out)
    }

    #[getter]
    fn pattern(&self) -> &str {
        self.core.pattern().as_str()
    }

    #[getter]
    fn pattern_regex(&self) -> &str {
        self.core.pattern().regex()
    }
}

impl Tokenizer {
    fn encode_ids(&self, text: &Bound<'_, PyString>, num_threads: Option<i64>) -> PyResult<Vec<u32>> {
        let py = text.py();
        let text = utf8(text)?;
        let threads = threads_for(text.len(), num_threads)?;
        run_sized(py, text.len(), |control| self.core.encode(&text, threads, control))
    }

    fn decode_ids(&self, ids: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        let py = ids.py();
        let ids = ids::extract(ids, self.core.vocab_size())?;
        run_sized(py, ids.len(), |_| self.core.decode_bytes(&ids))
    }
}

/// One thread for a text so short that more would not pay, unless the caller asks.
fn threads_for(size_bytes: usize, asked: Option<i64>) -> PyResult<usize> {
    if asked.is_none() && size_bytes < LONG_BYTES { Ok(1) } else { num_threads(asked) }
}

fn to_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    // Not `PyBytes::new`, which panics where the bytes do not fit into memory.
    PyBytes::new_with(py, bytes.len(), |out| {
        out.copy_from_slice(bytes);
        Ok(())
    })
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}

fn extract_vocab(vocab: &Bound<'_, PyDict>) -> PyResult<Vec<(u32, Vec<u8>)>> {
    let mut out = Vec::new();
    ids::reserve(&mut out, vocab.len())?;
    for (position, (id, token)) in vocab.iter().enumerate() {
        let token = token.cast::<PyBytes>().map_err(|_| {
            PyTypeError::new_err(format!("vocab must map int to bytes, got {} for id {id}", type_name(&token)))
        })?;
        out.push((ids::extract_one(&id, position, MAX_VOCAB_SIZE as u32)?, token.as_bytes().to_vec()));
    }
    Ok(out)
}

fn extract_merges(merges: &Bound<'_, PyAny>) -> PyResult<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut out = Vec::new();
    for (index, merge) in merges.try_iter()?.enumerate() {
        let merge = merge?;
        let (left, right) = merge.extract::<(Bound<'_, PyBytes>, Bound<'_, PyBytes>)>().map_err(|_| {
            PyTypeError::new_err(format!("merges must hold pairs (bytes, bytes), got {merge} at index {index}"))
        })?;
        out.push((left.as_bytes().to_vec(), right.as_bytes().to_vec()));
    }
    Ok(out)
}

pub(crate) fn extract_specials(special_tokens: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<String>> {
    let Some(special_tokens) = special_tokens else { return Ok(Vec::new()) };
    strings(special_tokens, "special_tokens")?.iter().map(|token| Ok(token.to_str()?.to_owned())).collect()
}

pub(crate) fn vocab_dict<'py, B: AsRef<[u8]>>(
    py: Python<'py>,
    vocab: impl IntoIterator<Item = (u32, B)>,
) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    for (id, token) in vocab {
        out.set_item(id, to_bytes(py, token.as_ref())?)?;
    }
    Ok(out)
}

pub(crate) fn merges_list<'py>(py: Python<'py>, merges: &[(Vec<u8>, Vec<u8>)]) -> PyResult<Bound<'py, PyList>> {
    let out = PyList::empty(py);
    for (left, right) in merges {
        out.append(PyTuple::new(py, [to_bytes(py, left)?, to_bytes(py, right)?])?)?;
    }
    Ok(out)
}
