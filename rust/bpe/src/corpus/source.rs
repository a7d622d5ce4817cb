//! What is to be read, and how.

use std::ops::Range;
use std::path::PathBuf;

/// How the documents of a file are delimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text whose documents stand between separators; without one the whole file is a document.
    Text {
        /// Not empty. It belongs to no document.
        separator: Option<Vec<u8>>,
    },
    /// A JSON object a line, whose text is the string under this key.
    Jsonl {
        /// The key.
        field: String,
    },
}

/// How the bytes of a file are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, any number of members.
    Gzip,
    /// Zstandard, any number of frames.
    Zstd,
}

/// A file, or a range of one that is not compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What to open: a file, or a pipe's `/dev/fd/N`.
    pub path: PathBuf,
    /// What messages call it, where that is not the path.
    pub name: Option<String>,
    /// How its documents are delimited.
    pub format: Format,
    /// How it is compressed.
    pub compression: Compression,
    /// The records that begin in this range of offsets; of a file that is not compressed and not a pipe.
    pub range: Option<Range<u64>>,
}

impl Source {
    /// A whole file.
    pub fn new(path: impl Into<PathBuf>, format: Format, compression: Compression) -> Self {
        Self { path: path.into(), name: None, format, compression, range: None }
    }

    /// How large it is on disk, 0 for a pipe.
    pub(crate) fn file_bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// What messages call it.
    pub fn name(&self) -> PathBuf {
        self.name.as_ref().map_or_else(|| self.path.clone(), PathBuf::from)
    }
}
