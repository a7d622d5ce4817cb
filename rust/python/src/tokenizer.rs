//! Class `Tokenizer`: an immutable vocabulary that any number of threads may use.

use std::borrow::Cow;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bpe::files;
use bpe::{Control, Pattern, Recognised};
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use crate::error::to_py;
use crate::files::Contents;
use crate::ids::{self, IdObjects};
use crate::iterate::EncodeIterator;
use crate::parts::{
    construction_bytes, extract_merges, extract_specials, extract_vocab, merges_list, to_bytes, vocab_dict,
};
use crate::text::{strings, utf8, utf8s};
use crate::watch::{LONG_BYTES, num_threads, run_sized, run_watched};

/// A vocabulary with its merges, special tokens and pattern. `cs336.tokenizer.Tokenizer` adds files and comparison.
#[pyclass(frozen, subclass, module = "cs336._bpe")]
pub(crate) struct Tokenizer {
    pub(crate) core: bpe::Tokenizer,
    pub(crate) ids: IdObjects,
    no_specials: Recognised,
    /// Those of the last call that asked for some: to get ready to search for them takes longer than a short text.
    last_specials: Mutex<Option<(Vec<String>, Arc<Recognised>)>>,
}

/// About how much memory a batch takes for each text, whatever its size: measured, 190 bytes.
const BATCH_BYTES: usize = 256;

/// The ids of a batch, and where each text begins among them.
type IdsAndStarts<'py> = (Bound<'py, PyArray1<u32>>, Bound<'py, PyArray1<i64>>);

/// The special tokens that a call recognises.
enum Specials<'t> {
    Fixed(&'t Recognised),
    Shared(Arc<Recognised>),
}

impl Deref for Specials<'_> {
    type Target = Recognised;

    fn deref(&self) -> &Recognised {
        match self {
            Self::Fixed(specials) => specials,
            Self::Shared(specials) => specials,
        }
    }
}

#[pymethods]
impl Tokenizer {
    #[new]
    #[pyo3(signature = (vocab, merges, special_tokens=None, *, pattern=None, ignore_merges=None))]
    fn new(
        py: Python<'_>,
        vocab: &Bound<'_, PyAny>,
        merges: &Bound<'_, PyAny>,
        special_tokens: Option<&Bound<'_, PyAny>>,
        pattern: Option<&str>,
        ignore_merges: Option<bool>,
    ) -> PyResult<Self> {
        let mut contents = match vocab.cast::<Contents>() {
            Ok(contents) => contents.get().take()?,
            Err(_) => files::Contents {
                vocab: extract_vocab(vocab.cast::<PyDict>()?)?,
                merges: extract_merges(merges)?.into(),
                pattern: Some(Pattern::parse(pattern.unwrap_or("gpt2")).map_err(|error| to_py(py, &error))?),
                ..files::Contents::default()
            },
        };
        let special_tokens = extract_specials(special_tokens)?;
        ids::expect_room(construction_bytes(contents.vocab.len(), contents.merges.len(), &special_tokens))?;
        let build = || {
            if let Some(pattern) = pattern {
                contents.pattern = Some(Pattern::parse(pattern)?);
            }
            if let Some(ignore_merges) = ignore_merges {
                contents.ignore_merges = ignore_merges;
            }
            contents.declare(special_tokens);
            contents.build()
        };
        let core = py.detach(build).map_err(|error| to_py(py, &error))?;
        let ids = IdObjects::new(py, core.vocab_size())?;
        Ok(Self { core, ids, no_specials: Recognised::default(), last_specials: Mutex::new(None) })
    }

    /// The ids of a text. Special tokens in it become their ids; lone surrogates are encoded as U+FFFD.
    ///
    /// Args:
    ///     text: any str.
    ///     special_tokens: which special tokens to recognise; None for all. Others are encoded as ordinary text.
    ///     num_threads: None for all cores if the text has a megabyte or more, else one; the ids do not depend on it.
    ///
    /// Raises:
    ///     ValueError: the pattern is a regular expression that backtracks too much on this text; a token is not
    ///         special.
    ///     MemoryError: the ids do not fit into memory.
    #[pyo3(signature = (text, *, special_tokens=None, num_threads=None))]
    fn encode<'py>(
        &self,
        text: &Bound<'py, PyString>,
        special_tokens: Option<&Bound<'_, PyAny>>,
        num_threads: Option<i64>,
    ) -> PyResult<Bound<'py, PyList>> {
        let specials = self.recognise(special_tokens)?;
        self.ids.list(text.py(), &self.encode_ids(text, &specials, num_threads)?)
    }

    /// As `encode` with no special token recognised: whatever the text says, it is only text. For untrusted input.
    #[pyo3(signature = (text, *, num_threads=None))]
    fn encode_ordinary<'py>(
        &self,
        text: &Bound<'py, PyString>,
        num_threads: Option<i64>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.ids.list(text.py(), &self.encode_ids(text, &self.no_specials, num_threads)?)
    }

    /// As `encode`, into a NumPy array of uint32: half the memory, and faster on long texts.
    #[pyo3(signature = (text, *, special_tokens=None, num_threads=None))]
    fn encode_array<'py>(
        &self,
        text: &Bound<'py, PyString>,
        special_tokens: Option<&Bound<'_, PyAny>>,
        num_threads: Option<i64>,
    ) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let specials = self.recognise(special_tokens)?;
        Ok(self.encode_ids(text, &specials, num_threads)?.into_pyarray(text.py()))
    }

    /// The ids of a UTF-8 text file as `encode_array` gives them, without the text in memory.
    ///
    /// Raises:
    ///     OSError: the file cannot be read.
    ///     ValueError: the text is not UTF-8; names the offset.
    #[pyo3(signature = (path, *, special_tokens=None, num_threads=None, progress=None))]
    fn encode_file_to_array<'py>(
        &self,
        py: Python<'py>,
        path: PathBuf,
        special_tokens: Option<&Bound<'_, PyAny>>,
        num_threads: Option<i64>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let specials = self.recognise(special_tokens)?;
        let threads = crate::watch::num_threads(num_threads)?;
        let encode = |control: &Control| self.core.encode_text_file(&path, &specials, threads, control);
        Ok(run_watched(py, progress, encode)?.into_pyarray(py))
    }

    /// The ids of each text, as `encode` gives them, on all cores or as many as told.
    #[pyo3(signature = (texts, num_threads=None, *, special_tokens=None))]
    fn encode_batch<'py>(
        &self,
        texts: &Bound<'py, PyAny>,
        num_threads: Option<i64>,
        special_tokens: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = texts.py();
        let batch = self.with_batch(texts, num_threads, special_tokens, |texts, specials, threads, control| {
            self.core.encode_batch(texts, specials, threads, control)
        })?;
        let out = PyList::empty(py);
        for ids in &batch {
            out.append(self.ids.list(py, ids)?)?;
        }
        Ok(out)
    }

    /// The ids of all texts in one NumPy array of uint32, without passing through Python integers, and an array of int64
    /// that is one longer than the batch: the ids of text `i` are `ids[starts[i]:starts[i + 1]]`.
    #[pyo3(signature = (texts, num_threads=None, *, special_tokens=None))]
    fn encode_batch_to_array<'py>(
        &self,
        texts: &Bound<'py, PyAny>,
        num_threads: Option<i64>,
        special_tokens: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<IdsAndStarts<'py>> {
        let py = texts.py();
        let (ids, starts) =
            self.with_batch(texts, num_threads, special_tokens, |texts, specials, threads, control| {
                self.core.encode_batch_together(texts, specials, threads, control)
            })?;
        let starts: Vec<i64> = starts.into_iter().map(|start| start.cast_signed() as i64).collect();
        Ok((ids.into_pyarray(py), starts.into_pyarray(py)))
    }

    /// The ids of a text that may go on: those that stay, and a list of what may come after them, as tiktoken's
    /// `encode_with_unstable` has it.
    #[pyo3(signature = (text, *, special_tokens=None))]
    fn encode_unfinished<'py>(
        &self,
        text: &Bound<'py, PyString>,
        special_tokens: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
        let py = text.py();
        let specials = self.recognise(special_tokens)?;
        let text = utf8(text)?;
        let unfinished = run_watched(py, None, |control| self.core.encode_unfinished(&text, &specials, control))?;
        let completions = PyList::empty(py);
        for ids in &unfinished.completions {
            completions.append(self.ids.list(py, ids)?)?;
        }
        Ok((self.ids.list(py, &unfinished.stable)?, completions))
    }

    /// The ids of the strings' concatenation, one at a time, wherever the strings begin and end.
    ///
    /// Lazy: no more strings are pulled than the next id needs. Of the text so far only what the next string may still
    /// change is held: with the pattern "gpt2" the last word, with another one the text since the last special token.
    ///
    /// Args:
    ///     strings: any iterable of str, such as an open text file.
    ///
    /// Raises (from the iterator):
    ///     TypeError: an item is no str; names its index. The iterator goes on with the next one.
    fn encode_iterable(slf: &Bound<'_, Self>, strings: &Bound<'_, PyAny>) -> PyResult<EncodeIterator> {
        EncodeIterator::new(slf, strings)
    }

    /// `Tokenizer.encode_file` of `cs336.tokenizer` but for the result: tokens, bytes, special tokens, dtype.
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

    /// The text of the ids; bytes that are no UTF-8 become U+FFFD.
    ///
    /// Args:
    ///     ids: any iterable of integers; NumPy arrays of uint16, uint32 and int64 are the fastest.
    ///
    /// Raises:
    ///     ValueError: an id is not in the vocabulary; names its position.
    ///     TypeError: an item is no integer; names its position.
    fn decode<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
        let py = ids.py();
        let bytes = self.decode_ids(ids)?;
        if std::str::from_utf8(&bytes).is_ok() {
            return PyString::from_bytes(py, &bytes);
        }
        PyString::from_encoded_object(to_bytes(py, &bytes)?.as_any(), Some(c"utf-8"), Some(c"replace"))
    }

    /// As `decode`, without making text of the bytes.
    fn decode_bytes<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        to_bytes(ids.py(), &self.decode_ids(ids)?)
    }

    /// Write a `tokenizer.json` as Hugging Face's `tokenizers` reads it. Returns the part of the pattern, if there is
    /// one, that means something else there.
    fn write_hf(&self, py: Python<'_>, path: PathBuf) -> PyResult<Option<&'static str>> {
        py.detach(|| files::hf::write(&self.core, &path)).map_err(|error| to_py(py, &error))
    }

    /// Write a file of ranks as tiktoken reads it.
    fn write_tiktoken(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        run_watched(py, None, |control| files::tiktoken::write(&self.core, &path, control))
    }

    /// The id of each token that is not only special, if tiktoken comes to the same ids with them as ranks.
    ///
    /// Raises:
    ///     ValueError: it would not: the order of the ids is not that of the merges.
    fn ranks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let ranks = run_watched(py, None, |control| files::tiktoken::ranks(&self.core, control))?;
        let out = PyDict::new(py);
        for (id, token) in ranks {
            out.set_item(to_bytes(py, token)?, id)?;
        }
        Ok(out)
    }

    /// Write GPT-2's pair of files.
    fn write_gpt2(&self, py: Python<'_>, vocab_path: PathBuf, merges_path: PathBuf) -> PyResult<()> {
        py.detach(|| files::gpt2::write(&self.core, &vocab_path, &merges_path)).map_err(|error| to_py(py, &error))
    }

    /// The greatest id plus one.
    #[getter]
    fn vocab_size(&self) -> u32 {
        self.core.vocab_size()
    }

    /// The bytes of each id: a new dict, in the order of the ids.
    #[getter]
    fn vocab<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        vocab_dict(py, self.core.vocab())
    }

    /// The merges in the order of their rank: a new list.
    #[getter]
    fn merges<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        merges_list(py, self.core.spelt_merges())
    }

    /// The id of each special token: a new dict.
    #[getter]
    fn special_tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        for (token, id) in self.core.special_tokens() {
            out.set_item(token, id)?;
        }
        Ok(out)
    }

    /// The numbers of tokens and of merges, and both as canonical bytes: what `cs336.tokenizer.content` packs, without
    /// the header.
    fn canonical_content<'py>(&self, py: Python<'py>) -> (usize, usize, Bound<'py, PyBytes>) {
        let content = PyBytes::new(py, &py.detach(|| files::canonical_content(&self.core)));
        (self.core.vocab().count(), self.core.merges().len(), content)
    }

    /// The id of a token, None if it is none.
    fn token_to_id(&self, token: &[u8]) -> Option<u32> {
        self.core.token_to_id(token)
    }

    /// The token of an id, None if it has none.
    fn id_to_token<'py>(&self, py: Python<'py>, token_id: u32) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.core.id_to_token(token_id).map(|token| to_bytes(py, token)).transpose()
    }

    /// All tokens but those that are only special, in the order of their ids.
    fn ordinary_tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let out = PyList::empty(py);
        for (id, token) in self.core.vocab() {
            if !self.core.is_only_special(id) {
                out.append(to_bytes(py, token)?)?;
            }
        }
        Ok(out)
    }

    /// Tokens written `<|like this|>` that are not special tokens.
    fn undeclared_special_tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let out = PyList::empty(py);
        for token in self.core.undeclared_special_tokens() {
            out.append(to_bytes(py, token)?)?;
        }
        Ok(out)
    }

    /// Whether a pretoken that is a token takes its id, whatever the merges come to.
    #[getter]
    fn ignore_merges(&self) -> bool {
        self.core.ignore_merges()
    }

    /// The name of a named pattern ("gpt2"), else the regular expression.
    #[getter]
    fn pattern(&self) -> &str {
        self.core.pattern().as_str()
    }

    /// The regular expression, also of a named pattern.
    #[getter]
    fn pattern_regex(&self) -> &str {
        self.core.pattern().regex()
    }
}

impl Tokenizer {
    fn encode_ids(
        &self,
        text: &Bound<'_, PyString>,
        specials: &Recognised,
        num_threads: Option<i64>,
    ) -> PyResult<Vec<u32>> {
        let py = text.py();
        let text = utf8(text)?;
        let threads = threads_for(text.len(), num_threads)?;
        run_sized(py, text.len(), |control| self.core.encode_with(&text, specials, threads, control))
    }

    /// Does with the texts of a batch, the special tokens and the number of threads what `work` does, without the GIL.
    fn with_batch<T: Send>(
        &self,
        texts: &Bound<'_, PyAny>,
        num_threads: Option<i64>,
        special_tokens: Option<&Bound<'_, PyAny>>,
        work: impl FnOnce(&[Cow<'_, str>], &Recognised, usize, &Control) -> bpe::Result<T> + Send,
    ) -> PyResult<T> {
        let py = texts.py();
        let specials = self.recognise(special_tokens)?;
        let texts = strings(texts, "texts")?;
        let texts = utf8s(&texts)?;
        ids::expect_room(texts.len() * BATCH_BYTES)?;
        let size_bytes = texts.iter().map(|text| text.len()).sum();
        let threads = threads_for(size_bytes, num_threads)?;
        run_sized(py, size_bytes, |control| work(&texts, &specials, threads, control))
    }

    fn recognise(&self, tokens: Option<&Bound<'_, PyAny>>) -> PyResult<Specials<'_>> {
        let Some(tokens) = tokens else { return Ok(Specials::Fixed(self.core.specials())) };
        let given = extract_specials(Some(tokens))?;
        if given.is_empty() {
            return Ok(Specials::Fixed(&self.no_specials));
        }
        ids::expect_room(construction_bytes(0, 0, &given))?;
        let given: Vec<String> = given.into_iter().map(|(token, _)| token).collect();
        // `try_lock`: in a forked child the lock may be held by a thread that does not exist there.
        let mut last = self.last_specials.try_lock();
        if let Ok(Some((tokens, specials))) = last.as_deref()
            && *tokens == given
        {
            return Ok(Specials::Shared(Arc::clone(specials)));
        }
        let specials = self.core.recognise(&given).map_err(|error| to_py(tokens.py(), &error))?;
        let specials = Arc::new(specials);
        if let Ok(last) = last.as_deref_mut() {
            *last = Some((given, Arc::clone(&specials)));
        }
        Ok(Specials::Shared(specials))
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
