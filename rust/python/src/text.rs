//! Python's `str` as UTF-8. Python lets a `str` hold lone surrogates, which UTF-8 cannot: a pair of them becomes the
//! character it stands for, a lone one U+FFFD, in every method alike.

use std::borrow::Cow;

use bpe::repair_surrogates;
use pyo3::exceptions::{PyTypeError, PyUnicodeEncodeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::ids::reserve;

/// Borrowed where Python has the UTF-8 at hand (always for ASCII) or can cache it, copied only to repair surrogates.
pub(crate) fn utf8<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, str>> {
    match text.to_str() {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(error) if error.is_instance_of::<PyUnicodeEncodeError>(text.py()) => {
            Ok(Cow::Owned(repair_surrogates(wtf8(text)?.as_bytes())))
        }
        Err(error) => Err(error),
    }
}

/// [`utf8`] of each.
pub(crate) fn utf8s<'a>(texts: &'a [Bound<'_, PyString>]) -> PyResult<Vec<Cow<'a, str>>> {
    let mut out = Vec::new();
    reserve(&mut out, texts.len())?;
    for text in texts {
        out.push(utf8(text)?);
    }
    Ok(out)
}

/// UTF-8 in which each surrogate is encoded as if it were a character.
pub(crate) fn wtf8<'py>(text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyBytes>> {
    // Not `text.encode`, which a subclass may override.
    let encode = text.py().get_type::<PyString>().getattr("encode")?;
    Ok(encode.call1((text, "utf-8", "surrogatepass"))?.cast_into()?)
}

/// Length of the UTF-8-encoded high surrogate that `wtf8` ends with, else 0: its other half may come in the next chunk.
pub(crate) fn trailing_high_surrogate(wtf8: &[u8]) -> usize {
    match wtf8 {
        [.., 0xED, 0xA0..=0xAF, _] => 3,
        _ => 0,
    }
}

/// The item as a `str`, or a `TypeError` that says which item of what is none.
pub(crate) fn expect_str<'py>(item: Bound<'py, PyAny>, index: usize, name: &str) -> PyResult<Bound<'py, PyString>> {
    item.cast_into::<PyString>().map_err(|error| {
        let item = error.into_inner();
        match item.get_type().name() {
            Ok(kind) => PyTypeError::new_err(format!("{name} must hold str, got {kind} at index {index}")),
            Err(error) => error,
        }
    })
}

/// The items of an iterable of `str`. A single `str` is refused: it would pass as its characters.
pub(crate) fn strings<'py>(items: &Bound<'py, PyAny>, name: &str) -> PyResult<Vec<Bound<'py, PyString>>> {
    if items.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(format!("{name} must be a list of str, got a single str; put it in a list")));
    }
    let mut out = Vec::new();
    for (index, item) in items.try_iter()?.enumerate() {
        reserve(&mut out, 1)?;
        out.push(expect_str(item?, index, name)?);
    }
    Ok(out)
}
