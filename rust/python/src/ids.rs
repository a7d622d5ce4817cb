//! Token ids as Python's integers, both ways.

use numpy::{Element, PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::{PyMemoryError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyRange};

/// Python's integer for each id, made once. A list of ids then costs 8 bytes and a reference count an id instead of
/// a new object of 28 bytes, and nothing in making it can fail but the one allocation of the list.
pub(crate) struct IdObjects(Vec<Py<PyAny>>);

impl IdObjects {
    pub(crate) fn new(py: Python<'_>, vocab_size: u32) -> PyResult<Self> {
        let ids = py.get_type::<PyRange>().call1((vocab_size,))?.try_iter()?;
        Ok(Self(ids.map(|id| Ok(id?.unbind())).collect::<PyResult<_>>()?))
    }

    pub(crate) fn get<'a, 'py>(&'a self, py: Python<'py>, id: u32) -> &'a Bound<'py, PyAny> {
        self.0[id as usize].bind(py)
    }

    pub(crate) fn list<'py>(&self, py: Python<'py>, ids: &[u32]) -> PyResult<Bound<'py, PyList>> {
        // `[None] * n` and not `PyList::new`, which panics where the list does not fit into memory.
        let list = PyList::new(py, [py.None()])?.as_sequence().repeat(ids.len())?.cast_into::<PyList>()?;
        for (index, &id) in ids.iter().enumerate() {
            list.set_item(index, self.get(py, id))?;
        }
        Ok(list)
    }
}

/// The ids of any iterable of integers; one-dimensional arrays of the usual types go without Python's integers.
///
/// `num_ids` is only for the message about an id that cannot be one: the tokenizer checks the others.
pub(crate) fn extract(ids: &Bound<'_, PyAny>, num_ids: u32) -> PyResult<Vec<u32>> {
    if !ids.is_instance_of::<PyList>() {
        if let Ok(array) = ids.cast::<PyArray1<u32>>() {
            return from_array(array, num_ids, Some);
        }
        if let Ok(array) = ids.cast::<PyArray1<u16>>() {
            return from_array(array, num_ids, |id| Some(u32::from(id)));
        }
        if let Ok(array) = ids.cast::<PyArray1<i64>>() {
            return from_array(array, num_ids, |id| u32::try_from(id).ok());
        }
    }
    let mut out = Vec::new();
    reserve(&mut out, ids.len().unwrap_or(0))?;
    for (position, id) in ids.try_iter()?.enumerate() {
        let id = id?;
        if out.len() == out.capacity() {
            reserve(&mut out, position)?; // an iterator without a length: doubles
        }
        out.push(extract_one(&id, position, num_ids)?);
    }
    Ok(out)
}

pub(crate) fn extract_one(id: &Bound<'_, PyAny>, position: usize, num_ids: u32) -> PyResult<u32> {
    id.extract().map_err(|error| explain(id, position, num_ids, error))
}

fn from_array<T>(array: &Bound<'_, PyArray1<T>>, num_ids: u32, convert: impl Fn(T) -> Option<u32>) -> PyResult<Vec<u32>>
where
    T: Element + Copy + std::fmt::Display,
{
    let array: PyReadonlyArray1<'_, T> =
        array.try_readonly().map_err(|error| PyValueError::new_err(error.to_string()))?;
    let array = array.as_array();
    let mut out = Vec::new();
    reserve(&mut out, array.len())?;
    for (position, &id) in array.iter().enumerate() {
        out.push(convert(id).ok_or_else(|| out_of_range(id, position, num_ids))?);
    }
    Ok(out)
}

fn explain(id: &Bound<'_, PyAny>, position: usize, num_ids: u32, error: PyErr) -> PyErr {
    let py = id.py();
    if error.is_instance_of::<PyOverflowError>(py) {
        return out_of_range(id, position, num_ids);
    }
    match id.get_type().name() {
        Ok(kind) if error.is_instance_of::<PyTypeError>(py) => {
            PyTypeError::new_err(format!("ids must be integers, got {kind} at position {position}"))
        }
        _ => error,
    }
}

fn out_of_range(id: impl std::fmt::Display, position: usize, num_ids: u32) -> PyErr {
    let last = num_ids - 1;
    PyValueError::new_err(format!("id {id} at position {position} is out of range, expected 0 to {last}"))
}

/// A copy, or a `MemoryError` where `to_vec` would end the process.
pub(crate) fn copied(bytes: &[u8]) -> PyResult<Vec<u8>> {
    let mut out = Vec::new();
    out.try_reserve_exact(bytes.len()).map_err(|error| PyMemoryError::new_err(error.to_string()))?;
    out.extend_from_slice(bytes);
    Ok(out)
}

/// Asks for so much memory at once and gives it back. What follows needs it in many small parts, and one of those that
/// was refused would end the process. Memory that nobody looks at would be left out by the optimiser, and the question
/// with it.
pub(crate) fn expect_room(size_bytes: usize) -> PyResult<()> {
    reserve(std::hint::black_box(&mut Vec::<u8>::new()), size_bytes)
}

/// A whole number of 64 bits; the error names the argument.
pub(crate) fn whole(name: &str, value: &Bound<'_, PyAny>) -> PyResult<i64> {
    value.extract().map_err(|error: PyErr| match value.get_type().name() {
        _ if error.is_instance_of::<PyOverflowError>(value.py()) => {
            PyValueError::new_err(format!("{name} must fit into 64 bits, got {value}"))
        }
        Ok(kind) if error.is_instance_of::<PyTypeError>(value.py()) => {
            PyTypeError::new_err(format!("{name} must be an integer, got {kind}"))
        }
        _ => error,
    })
}

pub(crate) fn reserve<T>(out: &mut Vec<T>, additional: usize) -> PyResult<()> {
    out.try_reserve(additional.max(8)).map_err(|error| PyMemoryError::new_err(error.to_string()))
}
