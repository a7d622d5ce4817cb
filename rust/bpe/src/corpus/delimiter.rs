//! What stands after each record: a separator, or the end of a line.

use memchr::memmem::Finder;

use super::source::Format;
use crate::error::{Error, Result};

/// What stands after each record.
pub(super) struct Delimiter(Option<Finder<'static>>);

impl Delimiter {
    /// # Errors
    /// [`Error::InvalidArgument`] for an empty separator.
    pub(super) fn new(format: &Format) -> Result<Self> {
        let delimiter = match format {
            Format::Jsonl { .. } => Some(&b"\n"[..]),
            Format::Text { separator } => separator.as_deref(),
        };
        if delimiter.is_some_and(<[u8]>::is_empty) {
            return Err(Error::invalid(
                "the separator of documents is empty, expected at least one byte; leave it out where each file is one \
                 document",
            ));
        }
        Ok(Self(delimiter.map(|delimiter| Finder::new(delimiter).into_owned())))
    }

    /// At least 1, also if there is none.
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(1, |finder| finder.needle().len())
    }

    /// Whether there is one.
    pub(super) fn is_any(&self) -> bool {
        self.0.is_some()
    }

    /// Whether every occurrence of it is one, wherever the search begins: no beginning of it is also an end.
    pub(super) fn may_begin_anywhere(&self) -> bool {
        let Some(finder) = &self.0 else { return false };
        let needle = finder.needle();
        (1..needle.len()).all(|length| !needle.ends_with(&needle[..length]))
    }

    /// The end of the first delimiter in `bytes[from..]`. From a record's beginning it is that of the record.
    pub(super) fn first_end(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let finder = self.0.as_ref()?;
        finder.find(&bytes[from..]).map(|at| from + at + finder.needle().len())
    }

    /// The end of the last delimiter, found from the left as [`first_end`](Self::first_end) finds them.
    pub(super) fn last_end(&self, bytes: &[u8], from: usize) -> Option<usize> {
        match self.0.as_ref()?.needle() {
            &[byte] => memchr::memrchr(byte, &bytes[from..]).map(|at| from + at + 1),
            needle => self.0.as_ref()?.find_iter(&bytes[from..]).last().map(|at| from + at + needle.len()),
        }
    }
}
