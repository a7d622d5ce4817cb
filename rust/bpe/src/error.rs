//! The one error type of the crate. Messages say what was wrong, the value seen, what was expected and what to do;
//! they are lower case without a final stop, so that a caller can put its own words around them.

use std::io;
use std::path::{Path, PathBuf};

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument that no input could make right.
    #[error("{0}")]
    InvalidArgument(String),

    /// A file whose contents are not what its format says.
    #[error("{path}: {message}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        message: String,
    },

    /// The operating system refused a file operation.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },

    /// So many bytes could not be written.
    #[error("{path}: cannot write {size_bytes} bytes: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// How many.
        size_bytes: u64,
        /// The operating system's reason.
        source: io::Error,
    },

    /// An allocation of this many bytes was refused.
    #[error("out of memory: could not allocate {0} bytes")]
    OutOfMemory(usize),

    /// [`Control::cancel`](crate::Control::cancel) was called.
    #[error("interrupted")]
    Interrupted,
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidArgument(message.into())
    }

    pub(crate) fn malformed(path: &Path, message: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), message: message.into() }
    }

    /// For `map_err`: attaches the path that the bare `io::Error` lacks.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// As [`io`](Self::io), of so many bytes that were to be written.
    pub(crate) fn write(path: &Path, size_bytes: u64) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.to_owned(), size_bytes, source }
    }
}
