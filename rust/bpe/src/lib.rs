//! Byte-pair encoding without Python: training a vocabulary, text to ids and back.
//!
//! ```text
//! text -> segments -> pretokens -> counts -> pairs/merges -> vocabulary    Trainer
//! text -> segments -> pretokens -> cached merges -> ids                    Tokenizer
//! ```
//!
//! ```
//! use bpe::{Control, Pattern, Tokenizer, TrainOptions, Trainer};
//!
//! # fn main() -> bpe::Result<()> {
//! let pattern = Pattern::parse("gpt2")?;
//! let special_tokens = vec!["<|endoftext|>".to_owned()];
//! let mut trainer = Trainer::new(TrainOptions {
//!     vocab_size: 260,
//!     special_tokens: special_tokens.clone(),
//!     pattern: pattern.clone(),
//!     ..TrainOptions::default()
//! })?;
//! trainer.count_texts(&["low low low lower", "newest newest"], 1, &Control::new())?;
//! let trained = trainer.finish(&Control::new())?;
//!
//! let tokenizer = Tokenizer::new(trained.vocab, trained.merges, &special_tokens, pattern)?;
//! let ids = tokenizer.encode("lowest<|endoftext|>", 1, &Control::new())?;
//! assert_eq!(tokenizer.decode_bytes(&ids)?, b"lowest<|endoftext|>");
//! # Ok(())
//! # }
//! ```

mod control;
pub mod corpus;
mod count;
mod encode;
mod error;
pub mod files;
mod memory;
mod merges;
mod parallel;
mod raw;
mod split;
mod surrogates;
mod train;
mod vocab;
mod word_key;

pub use control::{Control, Progress};
pub use count::{
    CountOptions, CountRules, CountSummary, Counter, ReadPolicy, SourceCount, merge_counts, read_count_summary,
};
pub use encode::{CACHE_BYTES, FileStats, Recognised, SHARED_CACHE_BYTES, StreamEncoder, Tokenizer, Unfinished};
pub use error::{Error, Result};
pub use merges::{Merge, Merges};
pub use split::{Pattern, SpecialTokens};
pub use surrogates::repair_surrogates;
pub use train::{SecondStage, SuperTrainer, TrainOptions, Trained, Trainer};
pub use vocab::MAX_VOCAB_SIZE;
