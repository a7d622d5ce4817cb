//! Class `EncodeIterator`: what `Tokenizer.encode_iterable` returns.

use bpe::{StreamEncoder, repair_surrogates};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyString};

use crate::error::to_py;
use crate::text::{expect_str, trailing_high_surrogate, wtf8};
use crate::tokenizer::Tokenizer;
use crate::watch::TINY_BYTES;

/// A long string is encoded in pieces of about this many bytes, so that the ids in waiting stay few.
const PIECE_BYTES: usize = 1 << 16;

/// The ids of a text that arrives in pieces. Not for several threads at once, like a generator.
#[pyclass(module = "cs336._bpe")]
pub(crate) struct EncodeIterator {
    tokenizer: Py<Tokenizer>,
    /// `None` once it is exhausted.
    source: Option<Py<PyIterator>>,
    /// Items pulled from the source.
    num_items: usize,
    /// The item being encoded, and how many of its UTF-8 bytes are done.
    current: Option<(Py<PyString>, usize)>,
    /// A high surrogate at the end of the last item, whose other half may come with the next.
    surrogate: Vec<u8>,
    encoder: StreamEncoder,
    ids: Vec<u32>,
    next: usize,
}

#[pymethods]
impl EncodeIterator {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        loop {
            if let Some(&id) = self.ids.get(self.next) {
                self.next += 1;
                return Ok(Some(self.tokenizer.get().ids.get(py, id).clone()));
            }
            self.ids.clear();
            self.next = 0;
            if !self.encode_more(py)? {
                return Ok(None);
            }
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.tokenizer)?;
        visit.call(&self.source)
    }

    fn __clear__(&mut self) {
        self.source = None;
    }
}

impl EncodeIterator {
    pub(crate) fn new(tokenizer: &Bound<'_, Tokenizer>, strings: &Bound<'_, PyAny>) -> PyResult<Self> {
        // A `str` is an iterable of its characters; taken whole it gives the same ids.
        let strings = match strings.cast::<PyString>() {
            Ok(text) => (text,).into_pyobject(text.py())?.try_iter()?,
            Err(_) => strings.try_iter()?,
        };
        Ok(Self {
            tokenizer: tokenizer.clone().unbind(),
            source: Some(strings.unbind()),
            num_items: 0,
            current: None,
            surrogate: Vec::new(),
            encoder: StreamEncoder::new(),
            ids: Vec::new(),
            next: 0,
        })
    }

    /// One step towards more ids; whether there may be more. After an exception of the source, or an item that is no
    /// `str`, the iterator can go on; where encoding fails it has ended, as a generator has.
    fn encode_more(&mut self, py: Python<'_>) -> PyResult<bool> {
        if let Some((item, start)) = self.current.take() {
            let text = item.bind(py).to_str()?;
            let end = piece_end(text, start);
            self.push(py, &text[start..end])?;
            if end < text.len() {
                self.current = Some((item, end));
            }
            return Ok(true);
        }
        let Some(source) = &self.source else { return Ok(false) };
        if let Some(item) = source.bind(py).clone().next() {
            let (item, index) = (item?, self.num_items);
            self.num_items += 1;
            self.current = Some((self.whole_characters(expect_str(item, index, "strings")?)?, 0));
        } else {
            self.source = None;
            if !std::mem::take(&mut self.surrogate).is_empty() {
                self.push(py, "\u{FFFD}")?;
            }
            let core = &self.tokenizer.get().core;
            let (encoder, ids) = (&mut self.encoder, &mut self.ids);
            let size_bytes = encoder.held_bytes();
            let finished = run_short(py, size_bytes, || encoder.finish(core, ids));
            self.end_if_failed(py, finished)?;
        }
        Ok(true)
    }

    /// The item with its surrogates mended, without a high one at its end, and with the one held back before it.
    fn whole_characters(&mut self, item: Bound<'_, PyString>) -> PyResult<Py<PyString>> {
        if self.surrogate.is_empty() && item.to_str().is_ok() {
            return Ok(item.unbind());
        }
        let item_bytes = wtf8(&item)?;
        let mut bytes = std::mem::take(&mut self.surrogate);
        bytes.extend_from_slice(item_bytes.as_bytes());
        self.surrogate = bytes.split_off(bytes.len() - trailing_high_surrogate(&bytes));
        let text = repair_surrogates(&bytes);
        Ok(PyString::from_bytes(item.py(), text.as_bytes())?.unbind())
    }

    fn push(&mut self, py: Python<'_>, text: &str) -> PyResult<()> {
        let core = &self.tokenizer.get().core;
        let (encoder, ids) = (&mut self.encoder, &mut self.ids);
        let size_bytes = encoder.held_bytes() + text.len();
        let pushed = run_short(py, size_bytes, || encoder.push(core, text, ids));
        self.end_if_failed(py, pushed)
    }

    fn end_if_failed(&mut self, py: Python<'_>, outcome: bpe::Result<()>) -> PyResult<()> {
        outcome.map_err(|error| {
            (self.source, self.current, self.encoder) = (None, None, StreamEncoder::new());
            self.surrogate.clear();
            self.ids.clear();
            to_py(py, &error)
        })
    }
}

/// Runs `work` on `size_bytes` of text, without the GIL unless they are few.
fn run_short<T: Send>(py: Python<'_>, size_bytes: usize, work: impl FnOnce() -> T + Send) -> T {
    if size_bytes < TINY_BYTES { work() } else { py.detach(work) }
}

fn piece_end(text: &str, start: usize) -> usize {
    let end = text.len().min(start + PIECE_BYTES);
    (end..=text.len()).find(|&end| text.is_char_boundary(end)).unwrap_or(text.len())
}
