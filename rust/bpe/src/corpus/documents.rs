//! Records to documents: what each holds, or why it is rejected.

use std::borrow::Cow;

use super::delimiter::Delimiter;
use super::json::text_of;
use super::reader::{Batch, SAMPLE_BYTES};
use super::source::Format;
use crate::error::Result;
use crate::memory;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Records of more than so many bytes are parsed only after a look whether there is memory for their text.
const LARGE_RECORD_BYTES: usize = 1 << 20;

/// What to do with a record that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidUtf8 {
    /// Reject it.
    Reject,
    /// Put U+FFFD in place of what is not UTF-8, and count the document.
    Replace,
}

/// Why a record is not a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The line is not JSON.
    InvalidJson,
    /// The line is JSON, but no object.
    NotAnObject,
    /// The object lacks the field.
    MissingText,
    /// The field is not a string.
    NotAString,
    /// The object has the field more than once, and nobody knows which is meant.
    RepeatedText,
    /// The record is not UTF-8.
    InvalidUtf8,
    /// The record is longer than it may be.
    TooLong,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::InvalidJson,
        Self::NotAnObject,
        Self::MissingText,
        Self::NotAString,
        Self::RepeatedText,
        Self::InvalidUtf8,
        Self::TooLong,
    ];

    /// As it is written in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid JSON",
            Self::NotAnObject => "not an object",
            Self::MissingText => "missing text",
            Self::NotAString => "not a string",
            Self::RepeatedText => "repeated text",
            Self::InvalidUtf8 => "invalid UTF-8",
            Self::TooLong => "too long",
        }
    }
}

/// A document and where its record stands.
#[derive(Debug)]
pub struct Document<'b> {
    /// What it says.
    pub text: &'b str,
    /// Where its record begins, in the decompressed bytes of the source.
    pub offset: u64,
    /// The number of its record in the batch, blank ones counted.
    pub record: u64,
}

/// A record that is no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Where it begins, in the decompressed bytes of the source.
    pub offset: u64,
    /// Its number in the batch, blank ones counted.
    pub record: u64,
    /// Its length, without what delimits it.
    pub len: u64,
    /// Why.
    pub reason: Reason,
    /// The particulars.
    pub detail: String,
    /// Its bytes, as many as a megabyte.
    pub bytes: Vec<u8>,
}

/// What became of the bytes and records of a source. All of it adds up, in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Bytes of the records that became documents or were rejected.
    pub record_bytes: u64,
    /// Bytes between them: delimiters, blank lines, a byte order mark.
    pub other_bytes: u64,
    /// Documents, the empty ones too.
    pub documents: u64,
    /// Documents without text.
    pub empty_documents: u64,
    /// Documents with U+FFFD in place of what was not UTF-8.
    pub repaired_documents: u64,
    /// Bytes of the documents' text.
    pub text_bytes: u64,
    /// Rejected records.
    pub rejected: u64,
    /// Lines of nothing but white space; the white space after the last separator of a text.
    pub blank: u64,
}

impl Tally {
    /// All bytes that were read.
    pub fn bytes(&self) -> u64 {
        self.record_bytes + self.other_bytes
    }

    /// All records, whatever became of them.
    pub fn records(&self) -> u64 {
        self.documents + self.rejected + self.blank
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.record_bytes += other.record_bytes;
        self.other_bytes += other.other_bytes;
        self.documents += other.documents;
        self.empty_documents += other.empty_documents;
        self.repaired_documents += other.repaired_documents;
        self.text_bytes += other.text_bytes;
        self.rejected += other.rejected;
        self.blank += other.blank;
    }
}

/// How the documents of a source are got from its batches.
pub struct Documents {
    /// `None` for text.
    field: Option<String>,
    delimiter: Delimiter,
    invalid_utf8: InvalidUtf8,
    max_record_bytes: u64,
}

/// What a document's text is put together in, if it does not stand in its record as it is.
#[derive(Default)]
struct Room {
    repaired: String,
    unescaped: String,
}

impl Documents {
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for an empty separator.
    pub fn new(format: &Format, invalid_utf8: InvalidUtf8, max_record_bytes: u64) -> Result<Self> {
        let field = match format {
            Format::Text { .. } => None,
            Format::Jsonl { field } => Some(field.clone()),
        };
        Ok(Self { field, delimiter: Delimiter::new(format)?, invalid_utf8, max_record_bytes })
    }

    /// Calls `visit` with each record in order, as a document or as what was rejected, and adds up what became of all
    /// bytes of the batch.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), and those of `visit`.
    pub fn for_each(
        &self,
        batch: &Batch,
        tally: &mut Tally,
        mut visit: impl FnMut(Result<Document<'_>, Reject>) -> Result<()>,
    ) -> Result<()> {
        if let Some(length) = batch.too_long {
            tally.record_bytes += length;
            tally.other_bytes += batch.len - length;
            tally.rejected += 1;
            return visit(Err(self.too_long(batch.offset, 0, length, &batch.bytes)));
        }
        let mut start = 0;
        if batch.offset == 0 && self.field.is_some() && batch.bytes.starts_with(BYTE_ORDER_MARK) {
            start = BYTE_ORDER_MARK.len();
            tally.other_bytes += start as u64;
        }
        let mut room = Room::default();
        let mut number = 0;
        while start < batch.bytes.len() {
            let delimited = self.delimiter.first_end(&batch.bytes, start);
            let end = delimited.unwrap_or(batch.bytes.len());
            let record = &batch.bytes[start..end - delimited.map_or(0, |_| self.delimiter.len())];
            tally.other_bytes += (end - start - record.len()) as u64;
            if self.is_blank(record, delimited.is_some()) {
                tally.other_bytes += record.len() as u64;
                tally.blank += 1;
            } else {
                tally.record_bytes += record.len() as u64;
                let found = self.document(record, batch.offset + start as u64, number, &mut room, tally)?;
                tally.documents += u64::from(found.is_ok());
                tally.rejected += u64::from(found.is_err());
                visit(found)?;
            }
            start = end;
            number += 1;
        }
        Ok(())
    }

    /// Whether a record is there only for the eye: an empty line, or the line's end after the last separator of a text.
    fn is_blank(&self, record: &[u8], is_delimited: bool) -> bool {
        let may_be = self.field.is_some() || (!is_delimited && self.delimiter.is_any());
        may_be && record.iter().all(u8::is_ascii_whitespace)
    }

    fn document<'b>(
        &self,
        record: &'b [u8],
        offset: u64,
        number: u64,
        room: &'b mut Room,
        tally: &mut Tally,
    ) -> Result<Result<Document<'b>, Reject>> {
        let reject = |(reason, detail)| Reject {
            offset,
            record: number,
            len: record.len() as u64,
            reason,
            detail,
            bytes: sample(record),
        };
        if record.len() as u64 > self.max_record_bytes {
            return Ok(Err(self.too_long(offset, number, record.len() as u64, record)));
        }
        let mut is_repaired = false;
        let record = match simdutf8::basic::from_utf8(record) {
            Ok(record) => record,
            Err(_) if self.invalid_utf8 == InvalidUtf8::Replace => {
                is_repaired = true;
                room.repaired = String::from_utf8_lossy(record).into_owned();
                &room.repaired
            }
            Err(_) => {
                let valid = std::str::from_utf8(record).map_or_else(|error| error.valid_up_to(), str::len);
                let seen = record.get(valid).copied().unwrap_or_default();
                let detail = format!("byte {valid} of the record is 0x{seen:02X}");
                return Ok(Err(reject((Reason::InvalidUtf8, detail))));
            }
        };
        let text = match &self.field {
            None => record,
            Some(field) => {
                if record.len() > LARGE_RECORD_BYTES {
                    // The parser's copy of a text with escapes would end the process where there is no memory for it.
                    memory::expect_room(record.len())?;
                }
                match text_of(record, field) {
                    Ok(Cow::Borrowed(text)) => text,
                    Ok(Cow::Owned(text)) => {
                        room.unescaped = text;
                        &room.unescaped
                    }
                    Err(refusal) => return Ok(Err(reject(refusal))),
                }
            }
        };
        tally.text_bytes += text.len() as u64;
        tally.empty_documents += u64::from(text.is_empty());
        tally.repaired_documents += u64::from(is_repaired);
        Ok(Ok(Document { text, offset, record: number }))
    }

    fn too_long(&self, offset: u64, record: u64, len: u64, bytes: &[u8]) -> Reject {
        let detail = format!("it has {len} bytes, at most {} are allowed", self.max_record_bytes);
        Reject { offset, record, len, reason: Reason::TooLong, detail, bytes: sample(bytes) }
    }
}

/// As much of a rejected record as is kept.
fn sample(record: &[u8]) -> Vec<u8> {
    record[..record.len().min(SAMPLE_BYTES)].to_vec()
}
