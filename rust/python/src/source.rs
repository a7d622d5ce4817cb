//! What is to be read, and what became of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bpe::corpus::{Compression, Format, InvalidUtf8, Source};
use bpe::{ReadPolicy, SourceCount};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Documents, those without text, those repaired, bytes of text, rejected records by reason.
pub(crate) type Counted = (u64, u64, u64, u64, BTreeMap<&'static str, u64>);

/// A source and what to do with bad records, as Python hands them over.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Described {
    path: PathBuf,
    name: String,
    format: String,
    compression: String,
    separator: Option<String>,
    text_field: String,
    replace_invalid_utf8: bool,
    max_record_bytes: u64,
    max_rejected: u64,
}

impl Described {
    pub(crate) fn parse(self) -> PyResult<(Source, ReadPolicy)> {
        let format = match self.format.as_str() {
            "text" => Format::Text { separator: self.separator.map(String::into_bytes) },
            "jsonl" => Format::Jsonl { field: self.text_field },
            other => return Err(PyValueError::new_err(format!("format must be text or jsonl, got {other:?}"))),
        };
        let compression = match self.compression.as_str() {
            "none" => Compression::None,
            "gzip" => Compression::Gzip,
            "zstd" => Compression::Zstd,
            other => {
                return Err(PyValueError::new_err(format!("compression must be none, gzip or zstd, got {other:?}")));
            }
        };
        let invalid_utf8 = if self.replace_invalid_utf8 { InvalidUtf8::Replace } else { InvalidUtf8::Reject };
        let policy =
            ReadPolicy { invalid_utf8, max_record_bytes: self.max_record_bytes, max_rejected: self.max_rejected };
        let name = (self.path.as_os_str() != self.name.as_str()).then_some(self.name);
        Ok((Source { name, ..Source::new(self.path, format, compression) }, policy))
    }
}

pub(crate) fn counted(found: SourceCount) -> Counted {
    let SourceCount { tally, rejected } = found;
    let rejected = rejected.into_iter().map(|(reason, count)| (reason.name(), count)).collect();
    (tally.documents, tally.empty_documents, tally.repaired_documents, tally.text_bytes, rejected)
}
