//! Files of documents to token shards, with nothing lost.
//!
//! ```text
//! file -> decompressed bytes -> batches of whole records -> documents or rejects -> ids -> shards
//!         decompress/           reader.rs, delimiter.rs     documents.rs, json/      encoder.rs, shard.rs
//! ```
//!
//! A *record* is what a separator or the end of a line delimits; a *document* is the text in it. Every byte of a file
//! belongs to exactly one record or is counted as being between them, and every record becomes a document, is rejected
//! with a reason, or is blank: the sums are checked before anything is called done.

mod decompress;
mod delimiter;
mod documents;
mod encoder;
mod flow;
mod ids;
mod json;
mod output;
mod pipeline;
mod quarantine;
mod reader;
mod running;
mod shard;
mod shuffle;
mod source;
mod stream;
mod task;

pub use documents::{Document, Documents, InvalidUtf8, Reason, Reject, Tally};
pub use output::{CrashPoint, hash_file};
pub use pipeline::for_each_batch;
pub use reader::{Batch, DEFAULT_MAX_RECORD_BYTES, Reader};
pub use running::{InputReport, TaskReport, run_task};
pub use shard::{Committed, Position, SPLITS};
pub use shuffle::{Shuffle, UnshuffledShard, run_shuffle};
pub use source::{Compression, Format, Source};
pub(crate) use stream::TextStream;
pub use task::{CompressionName, FormatName, OnBad, SpecialText, Task, TaskInput};
