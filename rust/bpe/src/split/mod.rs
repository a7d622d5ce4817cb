//! text -> segments -> pretokens.
//!
//! A text is first cut at its special tokens into segments, each segment by the pattern into pretokens. Merges happen
//! within a pretoken only, so that everything after this stage looks at pretokens alone.

mod blocks;
mod cl100k;
mod classes;
pub(crate) mod cut;
mod gpt2;
mod o200k;
mod pages;
mod pattern;
mod runs;
pub(crate) mod scan;
mod special;
mod superbpe;
mod unicode;
mod words;

pub use pattern::Pattern;
pub(crate) use special::Segment;
pub use special::SpecialTokens;
