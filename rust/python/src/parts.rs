//! What a tokenizer is made of (vocabulary, merges, special tokens) from and to Python's objects.

use bpe::MAX_VOCAB_SIZE;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyMapping, PyTuple};

use crate::ids;
use crate::text::strings;

pub(crate) fn to_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    // Not `PyBytes::new`, which panics where the bytes do not fit into memory.
    PyBytes::new_with(py, bytes.len(), |out| {
        out.copy_from_slice(bytes);
        Ok(())
    })
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}

pub(crate) fn extract_vocab(vocab: &Bound<'_, PyDict>) -> PyResult<Vec<(u32, Vec<u8>)>> {
    let mut out = Vec::new();
    ids::reserve(&mut out, vocab.len())?;
    // A copy: what is called to read an id may change the dictionary, which panics in the middle of its iteration.
    for (position, (id, token)) in vocab.copy()?.iter().enumerate() {
        let token = token.cast::<PyBytes>().map_err(|_| {
            PyTypeError::new_err(format!("vocab must map int to bytes, got {} for id {id}", type_name(&token)))
        })?;
        out.push((ids::extract_one(&id, position, MAX_VOCAB_SIZE as u32)?, ids::copied(token.as_bytes())?));
    }
    Ok(out)
}

pub(crate) fn extract_merges(merges: &Bound<'_, PyAny>) -> PyResult<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut out = Vec::new();
    for (index, merge) in merges.try_iter()?.enumerate() {
        let merge = merge?;
        ids::reserve(&mut out, 1)?;
        let (left, right) = merge.extract::<(Bound<'_, PyBytes>, Bound<'_, PyBytes>)>().map_err(|_| {
            PyTypeError::new_err(format!("merges must hold pairs (bytes, bytes), got {merge} at index {index}"))
        })?;
        out.push((ids::copied(left.as_bytes())?, ids::copied(right.as_bytes())?));
    }
    Ok(out)
}

/// Special tokens, with their ids if it is a mapping.
pub(crate) fn extract_specials(special_tokens: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<(String, Option<u32>)>> {
    let Some(special_tokens) = special_tokens else { return Ok(Vec::new()) };
    let tokens = strings(special_tokens, "special_tokens")?;
    let mapping = special_tokens.cast::<PyMapping>().ok();
    let mut out = Vec::new();
    ids::reserve(&mut out, tokens.len())?;
    for (position, token) in tokens.iter().enumerate() {
        let id = match mapping {
            Some(mapping) => Some(ids::extract_one(&mapping.get_item(token)?, position, MAX_VOCAB_SIZE as u32)?),
            None => None,
        };
        let token = token.to_str()?;
        ids::expect_room(token.len())?;
        out.push((token.to_owned(), id));
    }
    Ok(out)
}

/// About how much memory a tokenizer takes while it is made: measured, 340 bytes a merge with its token, and up to 15 a
/// byte of the special tokens for what searches for them.
pub(crate) fn construction_bytes(num_tokens: usize, num_merges: usize, specials: &[(String, Option<u32>)]) -> usize {
    let special_bytes: usize = specials.iter().map(|(token, _)| token.len()).sum();
    400 * (num_tokens + num_merges) / 2 + 20 * special_bytes
}

pub(crate) fn vocab_dict<B: AsRef<[u8]>>(
    py: Python<'_>,
    vocab: impl IntoIterator<Item = (u32, B)>,
) -> PyResult<Bound<'_, PyDict>> {
    let out = PyDict::new(py);
    for (id, token) in vocab {
        out.set_item(id, to_bytes(py, token.as_ref())?)?;
    }
    Ok(out)
}

pub(crate) fn merges_list<B: AsRef<[u8]>>(
    py: Python<'_>,
    merges: impl IntoIterator<Item = (B, B)>,
) -> PyResult<Bound<'_, PyList>> {
    let out = PyList::empty(py);
    for (left, right) in merges {
        out.append(PyTuple::new(py, [to_bytes(py, left.as_ref())?, to_bytes(py, right.as_ref())?])?)?;
    }
    Ok(out)
}
