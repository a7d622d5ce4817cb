//! The border between Python and the `bpe` crate: it converts arguments, releases the GIL, calls, and converts the
//! result. There is no algorithm here; `python/cs336/_bpe.pyi` documents what Python sees.

mod error;
mod files;
mod ids;
mod iterate;
mod text;
mod tokenizer;
mod train;
mod watch;

/// The compiled half of `cs336.tokenizer`.
#[pyo3::pymodule(name = "_bpe", gil_used = false)]
mod extension {
    #[pymodule_export]
    use crate::files::{read_gpt2, read_hf};
    #[pymodule_export]
    use crate::iterate::EncodeIterator;
    #[pymodule_export]
    use crate::tokenizer::Tokenizer;
    #[pymodule_export]
    use crate::train::Trainer;
}
