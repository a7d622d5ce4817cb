//! The one place where the core's errors become Python's.

use std::io;
use std::path::Path;

use bpe::Error;
use pyo3::exceptions::{PyKeyboardInterrupt, PyMemoryError, PyOSError, PyValueError};
use pyo3::prelude::*;

/// A bad argument or file contents are a `ValueError`, file trouble an `OSError` whose `errno` makes Python pick the
/// subclass, a refused allocation a `MemoryError`.
pub(crate) fn to_py(py: Python<'_>, error: &Error) -> PyErr {
    match error {
        Error::Io { path, source } => os_error(py, path, source, None),
        Error::Write { path, size_bytes, source } => os_error(py, path, source, Some(*size_bytes)),
        Error::OutOfMemory(_) => PyMemoryError::new_err(error.to_string()),
        // Only for completeness: whoever cancels has an exception of its own, and raises that.
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        Error::InvalidArgument(_) | Error::Malformed { .. } => PyValueError::new_err(error.to_string()),
    }
}

fn os_error(py: Python<'_>, path: &Path, source: &io::Error, size_bytes: Option<u64>) -> PyErr {
    let Some(code) = source.raw_os_error() else {
        return PyOSError::new_err(format!("{}: {source}", path.display()));
    };
    // Python's own words, so that the message reads as from `open`.
    let strerror = |code| py.import("os")?.call_method1("strerror", (code,))?.extract::<String>();
    let words = strerror(code).unwrap_or_else(|_| source.to_string());
    let words = match size_bytes {
        Some(size_bytes) => format!("cannot write {size_bytes} bytes ({words})"),
        None => words,
    };
    let path = path.as_os_str().to_owned(); // a `str`, as `open` has it
    if cfg!(windows) {
        // There the code is a `winerror`, which Python translates to an errno itself.
        PyOSError::new_err((0, words, path, code))
    } else {
        PyOSError::new_err((code, words, path))
    }
}
