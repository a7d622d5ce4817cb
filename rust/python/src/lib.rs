//! The border between Python and the `bpe` crate: it converts arguments, releases the GIL, calls, and converts the
//! result. There is no algorithm here. Doc comments of Python's classes and methods are what `help` shows.

#![allow(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]
#![allow(clippy::doc_markdown, reason = "many doc comments are Python's docstrings")]

mod corpus;
mod count;
mod error;
mod files;
mod ids;
mod iterate;
mod parts;
mod source;
mod text;
mod tokenizer;
mod train;
mod watch;

/// The compiled half of `cs336.tokenizer`.
#[pyo3::pymodule(name = "_bpe", gil_used = false)]
mod extension {
    #[pymodule_export]
    use crate::corpus::{hash_file, run_corpus_shuffle, run_corpus_task, write_file};
    #[pymodule_export]
    use crate::count::{Counter, merge_counts, read_count_summary};
    #[pymodule_export]
    use crate::files::{Contents, read_gpt2, read_hf, read_tiktoken};
    #[pymodule_export]
    use crate::iterate::EncodeIterator;
    #[pymodule_export]
    use crate::tokenizer::Tokenizer;
    #[pymodule_export]
    use crate::train::Trainer;
}
