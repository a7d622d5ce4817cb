//! What the core does with any bytes: entries for libFuzzer (`make fuzz`), and a short run of them as a test.
//!
//! An entry takes bytes, makes input of them and panics if something that must always hold does not. [`Source`] makes
//! the input; [`mutate`] the bytes, where there is no fuzzer to do it.

mod encode;
mod loaders;
mod mutate;
mod scanners;
mod source;

pub use encode::encode;
pub use loaders::{loaders, seeds as loader_seeds};
pub use mutate::Mutator;
pub use scanners::scanners;
pub use source::Source;
