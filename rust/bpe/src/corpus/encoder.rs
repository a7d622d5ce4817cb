//! Batches of records to the ids of their documents, on any thread.

use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::documents::{Document, Documents, InvalidUtf8, Reject, Tally};
use super::ids::IdType;
use super::reader::Batch;
use super::shard::Position;
use super::source::Source;
use super::task::{SpecialText, Task};
use crate::control::Control;
use crate::encode::{CacheGuard, Recognised, Tokenizer};
use crate::error::Result;

/// Memory above this is given back rather than kept for the next document or batch.
const MAX_SPARE_BYTES: usize = 4 << 20;

/// Makes documents of batches and ids of documents, on many threads.
pub(super) struct Encoder<'t> {
    tokenizer: &'t Tokenizer,
    task: &'t Task,
    documents: Vec<Documents>,
    ordinary: Recognised,
    valid_below: u128,
    id_type: IdType,
    /// The memory of ids that were written, to be used again.
    spare: Mutex<Vec<Vec<u8>>>,
    control: &'t Control,
}

/// What a thread that encodes has for itself.
pub(super) struct EncoderState<'t> {
    cache: CacheGuard<'t>,
    /// Of one document.
    ids: Vec<u32>,
}

/// A batch, encoded.
pub(super) struct Encoded {
    pub(super) begin: u64,
    pub(super) end: u64,
    pub(super) file_bytes: u64,
    /// Those of all documents that are not committed, one after the other, as they stand in shards.
    pub(super) ids: Vec<u8>,
    pub(super) documents: Vec<EncodedDocument>,
    pub(super) rejects: Vec<Reject>,
    pub(super) tally: Tally,
    pub(super) special_tokens: u64,
}

pub(super) struct EncodedDocument {
    pub(super) split: usize,
    pub(super) offset: u64,
    /// The number of its record in the batch.
    pub(super) record: u64,
    pub(super) text_bytes: u64,
    /// Where its ids end, in bytes.
    pub(super) end: usize,
}

impl<'t> Encoder<'t> {
    pub(super) fn new(
        tokenizer: &'t Tokenizer,
        task: &'t Task,
        sources: &[Source],
        control: &'t Control,
    ) -> Result<Self> {
        let invalid_utf8 = if task.replace_invalid_utf8 { InvalidUtf8::Replace } else { InvalidUtf8::Reject };
        let documents = |source: &Source| Documents::new(&source.format, invalid_utf8, task.max_record_bytes);
        Ok(Self {
            tokenizer,
            task,
            documents: sources.iter().map(documents).collect::<Result<_>>()?,
            ordinary: Recognised::default(),
            valid_below: share_of_hashes(task.valid_share),
            id_type: IdType::of(tokenizer),
            spare: Mutex::default(),
            control,
        })
    }

    /// What each thread needs.
    pub(super) fn new_state(&self) -> EncoderState<'t> {
        EncoderState { cache: CacheGuard::new(self.tokenizer), ids: Vec::new() }
    }

    /// Takes the memory of a batch that was written, unless one long document made it large.
    pub(super) fn reuse(&self, encoded: Encoded) {
        if encoded.ids.capacity() <= MAX_SPARE_BYTES {
            self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(encoded.ids);
        }
    }

    pub(super) fn encode(&self, state: &mut EncoderState<'_>, source: usize, batch: &Batch) -> Result<Encoded> {
        let mut ids = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        ids.clear();
        let mut encoded = Encoded {
            begin: batch.offset,
            end: batch.offset + batch.len,
            file_bytes: batch.file_bytes,
            ids,
            documents: Vec::new(),
            rejects: Vec::new(),
            tally: Tally::default(),
            special_tokens: 0,
        };
        let mut tally = Tally::default();
        self.documents[source].for_each(batch, &mut tally, |document| {
            match document {
                Ok(document) => self.encode_document(state, source, &document, &mut encoded)?,
                Err(reject) => encoded.rejects.push(reject),
            }
            self.control.check()
        })?;
        encoded.tally = tally;
        Ok(encoded)
    }

    fn encode_document(
        &self,
        EncoderState { cache, ids }: &mut EncoderState<'_>,
        source: usize,
        document: &Document<'_>,
        out: &mut Encoded,
    ) -> Result<()> {
        let Document { text, offset, record } = *document;
        let specials = self.tokenizer.specials();
        out.special_tokens += specials.tokens().count(text);
        let split = self.split(text);
        let Position(input, committed, _) = self.task.committed[split].next;
        if (self.task.inputs[source].input, offset) < (input, committed) {
            return Ok(());
        }
        let specials = if self.task.special_text == SpecialText::Special { specials } else { &self.ordinary };
        ids.clear();
        self.tokenizer.encode_document(text, specials, cache, ids, self.control)?;
        ids.push(self.task.eos_id);
        self.id_type.append(ids, &mut out.ids)?;
        if ids.capacity() > MAX_SPARE_BYTES / size_of::<u32>() {
            *ids = Vec::new();
        }
        out.documents.push(EncodedDocument {
            split,
            offset,
            record,
            text_bytes: text.len() as u64,
            end: out.ids.len(),
        });
        Ok(())
    }

    /// The same for the same text, whatever stands around it.
    fn split(&self, text: &str) -> usize {
        let is_valid = self.valid_below > 0
            && u128::from(xxh3_64_with_seed(text.as_bytes(), self.task.split_seed)) < self.valid_below;
        usize::from(is_valid)
    }
}

/// `share` of the 2^64 hashes.
#[expect(clippy::cast_sign_loss, reason = "clamped to what is not negative")]
fn share_of_hashes(share: f64) -> u128 {
    (share.clamp(0.0, 1.0) * 2_f64.powi(64)) as u128
}
