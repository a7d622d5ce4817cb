//! A file in batches of whole records, read by one thread in bounded memory.
//!
//! The reader looks for nothing but the ends of records, so that it keeps ahead of many threads that do the rest.

use std::ops::Range;

use super::decompress::Decompressor;
use super::delimiter::Delimiter;
use super::source::{Compression, Source};
use crate::error::{Error, Result};

/// Enough to be worth a thread's turn, little enough that many can be under way.
const BATCH_BYTES: usize = 1 << 20;
const BLOCK_BYTES: usize = 1 << 18;
/// How much is kept of a record that is too long.
pub(super) const SAMPLE_BYTES: usize = 1 << 20;
/// A record above this is too long unless the caller says otherwise: some of them and what is made of them must fit
/// into memory side by side. No document of the Pile comes near it.
pub const DEFAULT_MAX_RECORD_BYTES: u64 = 128 << 20;

/// Consecutive records of a source.
#[derive(Debug)]
pub struct Batch {
    /// Where they begin, in the decompressed bytes of the source.
    pub offset: u64,
    /// How many bytes of the source they take, what delimits them included.
    pub len: u64,
    /// Their bytes; of a record that is too long the first ones.
    pub bytes: Vec<u8>,
    /// The length of the one record this is, if that is longer than it may be.
    pub too_long: Option<u64>,
    /// How many bytes of the file, as it is on disk, were used since the batch before.
    pub file_bytes: u64,
}

impl Batch {
    /// Its memory, to be used again; not that of a long record, which would be held for ever.
    pub(super) fn into_memory(self) -> Option<Vec<u8>> {
        Some(self.bytes).filter(|bytes| bytes.capacity() <= 4 * BATCH_BYTES)
    }
}

/// Reads a source from its beginning to its end.
pub struct Reader {
    input: Decompressor,
    delimiter: Delimiter,
    max_record_bytes: u64,
    /// Where records must begin.
    range: Range<u64>,
    /// What has been read and not been given out; begins with a record.
    pending: Vec<u8>,
    /// To be filled next: memory that was touched before costs nothing to touch again.
    spare: Vec<u8>,
    /// Where that begins.
    offset: u64,
    /// Whether that is where a record begins: not yet, if reading began in the middle of the file.
    is_at_record: bool,
    has_ended: bool,
    file_bytes_told: u64,
    /// A batch is complete once it is this large; one long record makes it larger.
    batch_bytes: usize,
    /// Read at a time.
    block_bytes: usize,
}

impl Reader {
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened, [`Error::InvalidArgument`] for a source that contradicts itself, and
    /// [`Error::Malformed`] if it is not compressed as it should be.
    pub fn open(source: &Source, max_record_bytes: u64) -> Result<Self> {
        let delimiter = Delimiter::new(&source.format)?;
        let range = source.range.clone().unwrap_or(0..u64::MAX);
        if source.range.is_some() && !(source.compression == Compression::None && delimiter.may_begin_anywhere()) {
            return Err(Error::invalid(format!(
                "{}: only JSON lines and text with a separator that does not overlap itself can be read from the middle, \
                 uncompressed; read the whole file",
                source.name().display()
            )));
        }
        // A separator may end where the range begins.
        let start = range.start.saturating_sub(delimiter.len() as u64);
        Ok(Self {
            input: Decompressor::open(source, start)?,
            delimiter,
            max_record_bytes,
            is_at_record: range.start == 0,
            has_ended: false,
            range,
            pending: Vec::new(),
            spare: Vec::new(),
            offset: start,
            file_bytes_told: start,
            batch_bytes: BATCH_BYTES,
            block_bytes: BLOCK_BYTES,
        })
    }

    /// The next records. The last batch is empty and stands for the end of the source; `None` after it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::OutOfMemory`], and [`Error::Malformed`] for compressed data that are cut off or damaged, and
    /// for a file that changed meanwhile.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        if !std::mem::replace(&mut self.is_at_record, true) {
            self.find_first_record()?;
        }
        if self.offset >= self.range.end {
            return self.end();
        }
        // Of a batch's worth of bytes only the part up to the last record's end is given out; the rest comes first
        // the next time. `searched` bytes hold no end of a record.
        let (mut searched, mut wanted) = (0, self.batch_bytes);
        loop {
            let may_go_on = self.fill(wanted)?;
            if let Some(length) = self.whole_records(searched) {
                return self.give_out(length);
            }
            if !may_go_on {
                return self.give_out(self.pending.len()); // what nothing delimits is a record, too
            }
            if self.pending.len() as u64 >= self.max_record_bytes.saturating_add(self.delimiter.len() as u64) {
                return self.pass_over_record().map(Some);
            }
            searched = (self.pending.len() + 1).saturating_sub(self.delimiter.len());
            wanted = self.pending.len() + 1;
        }
    }

    /// Reads until `length` bytes are pending; whether there may be more.
    fn fill(&mut self, length: usize) -> Result<bool> {
        while self.pending.len() < length {
            if !self.read_block()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn read_block(&mut self) -> Result<bool> {
        let filled = self.pending.len();
        self.pending.try_reserve(self.block_bytes).map_err(|_| Error::OutOfMemory(filled + self.block_bytes))?;
        self.pending.resize(filled + self.block_bytes, 0);
        let read = self.input.read(&mut self.pending[filled..]);
        self.pending.truncate(filled + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }

    /// The length of the whole records that are pending and begin in the range, if there are any.
    fn whole_records(&self, searched: usize) -> Option<usize> {
        let until_end = self.range.end - self.offset;
        if until_end <= self.pending.len() as u64 {
            // The first record beyond the range begins at the first delimiter's end at or after the range's end.
            let from = searched.max((until_end as usize).saturating_sub(self.delimiter.len()));
            if let Some(end) = self.delimiter.first_end(&self.pending, from) {
                return Some(end);
            }
        }
        self.delimiter.last_end(&self.pending, searched)
    }

    /// Takes the memory of a batch that was worked off, to fill it again.
    pub(super) fn reuse(&mut self, memory: Option<Vec<u8>>) {
        if let Some(mut memory) = memory {
            memory.clear();
            self.spare = memory;
        }
    }

    fn give_out(&mut self, length: usize) -> Result<Option<Batch>> {
        if length == 0 {
            return self.end();
        }
        let rest = &self.pending[length..];
        let mut next = std::mem::take(&mut self.spare);
        let wanted = rest.len() + self.batch_bytes + self.block_bytes;
        next.try_reserve(wanted).map_err(|_| Error::OutOfMemory(wanted))?;
        next.extend_from_slice(rest);
        let mut bytes = std::mem::replace(&mut self.pending, next);
        bytes.truncate(length);
        let offset = self.offset;
        self.offset += length as u64;
        Ok(Some(Batch { offset, len: length as u64, bytes, too_long: None, file_bytes: self.file_bytes() }))
    }

    fn end(&mut self) -> Result<Option<Batch>> {
        if std::mem::replace(&mut self.has_ended, true) {
            return Ok(None);
        }
        self.input.check_unchanged()?;
        let file_bytes = self.file_bytes();
        Ok(Some(Batch { offset: self.offset, len: 0, bytes: Vec::new(), too_long: None, file_bytes }))
    }

    /// Reads a record to its end, keeping only its beginning.
    fn pass_over_record(&mut self) -> Result<Batch> {
        let bytes = self.pending[..SAMPLE_BYTES.min(self.pending.len())].to_vec();
        let offset = self.offset;
        let delimited = loop {
            // The last bytes may be the beginning of a delimiter.
            self.drop_pending(self.pending.len().saturating_sub(self.delimiter.len() - 1));
            self.pending.shrink_to(2 * self.block_bytes);
            let may_go_on = self.read_block()?;
            if let Some(end) = self.delimiter.first_end(&self.pending, 0) {
                self.drop_pending(end);
                break self.delimiter.len() as u64;
            }
            if !may_go_on {
                self.drop_pending(self.pending.len());
                break 0;
            }
        };
        let file_bytes = self.file_bytes();
        let len = self.offset - offset;
        Ok(Batch { offset, len, bytes, too_long: Some(len - delimited), file_bytes })
    }

    /// Drops what lies before the first record that begins in the range.
    fn find_first_record(&mut self) -> Result<()> {
        loop {
            let may_go_on = self.read_block()?;
            if let Some(end) = self.delimiter.first_end(&self.pending, 0) {
                self.drop_pending(end);
                return Ok(());
            }
            let keep = if may_go_on { self.delimiter.len() - 1 } else { 0 };
            self.drop_pending(self.pending.len().saturating_sub(keep));
            if !may_go_on {
                return Ok(());
            }
        }
    }

    fn drop_pending(&mut self, length: usize) {
        self.pending.drain(..length);
        self.offset += length as u64;
    }

    fn file_bytes(&mut self) -> u64 {
        let used = self.input.offset() - self.file_bytes_told;
        self.file_bytes_told += used;
        used
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::super::documents::{Documents, InvalidUtf8, Reason, Tally};
    use super::super::source::Format;
    use super::*;

    /// A file that is gone when the test is over.
    pub(super) struct Scratch(PathBuf);

    impl Scratch {
        pub(super) fn new(name: &str, content: &[u8]) -> Self {
            let path = std::env::temp_dir().join(format!("bpe-reader-{}-{name}", std::process::id()));
            fs::write(&path, content).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn text(path: &Path, separator: Option<&str>, range: Option<Range<u64>>) -> Source {
        let format = Format::Text { separator: separator.map(|separator| separator.as_bytes().to_vec()) };
        Source { range, ..Source::new(path, format, Compression::None) }
    }

    /// A record's offset, and its text or the length of what is too long.
    type Found = (u64, Result<String, u64>);

    /// The records, and what became of the bytes.
    fn read(source: &Source, max: u64, sizes: (usize, usize)) -> (Vec<Found>, Tally) {
        let mut reader = Reader::open(source, max).unwrap();
        (reader.batch_bytes, reader.block_bytes) = sizes;
        let documents = Documents::new(&source.format, InvalidUtf8::Reject, max).unwrap();
        let (mut found, mut tally, mut next) = (Vec::new(), Tally::default(), None);
        while let Some(batch) = reader.next_batch().unwrap() {
            assert!(next.is_none_or(|next| next == batch.offset), "batches follow one another");
            next = Some(batch.offset + batch.len);
            documents
                .for_each(&batch, &mut tally, |document| {
                    found.push(match document {
                        Ok(document) => (document.offset, Ok(document.text.to_owned())),
                        Err(reject) => {
                            assert_eq!(reject.reason, Reason::TooLong);
                            (reject.offset, Err(reject.len))
                        }
                    });
                    Ok(())
                })
                .unwrap();
        }
        (found, tally)
    }

    /// By definition.
    fn expected(content: &str, separator: Option<&str>, max: u64) -> Vec<Found> {
        let mut found = Vec::new();
        let mut offset = 0;
        let pieces: Vec<&str> = separator.map_or_else(|| vec![content], |separator| content.split(separator).collect());
        for (index, piece) in pieces.iter().enumerate() {
            let is_tail = index + 1 == pieces.len();
            let is_blank = is_tail && (piece.is_empty() || (separator.is_some() && piece.trim_ascii().is_empty()));
            if !is_blank {
                let length = piece.len() as u64;
                found.push((offset, if length > max { Err(length) } else { Ok((*piece).to_owned()) }));
            }
            offset += piece.len() as u64 + separator.map_or(0, |separator| separator.len() as u64);
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn records_are_what_stands_between_separators(
            pieces in prop::collection::vec(prop::sample::select(vec!["a", "é", "\n", "<|", "|>", "<|e|>", "bbbbbbbb", " "]), 0..60),
            separator in prop::sample::select(vec![Some("<|e|>"), Some("\n"), Some("\n\n"), Some("bb"), None]),
            sizes in (1_usize..40, 1_usize..20),
            max in prop::sample::select(vec![1_u64, 5, 12, 10_000]),
            cuts in prop::collection::vec(0_u64..200, 0..4),
        ) {
            let content = pieces.concat();
            let file = Scratch::new("records", content.as_bytes());
            let expected = expected(&content, separator, max);
            let (found, tally) = read(&text(&file.0, separator, None), max, sizes);
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(tally.bytes(), content.len() as u64);
            prop_assert_eq!(tally.documents + tally.rejected, expected.len() as u64);

            // Ranges that together are the file give its records, each once.
            if separator.is_some_and(|separator| ["<|e|>", "\n"].contains(&separator)) {
                let mut cuts = cuts;
                cuts.extend([0, 1000]);
                cuts.sort_unstable();
                let parts = cuts.windows(2).map(|cut| read(&text(&file.0, separator, Some(cut[0]..cut[1])), max, sizes));
                let (mut found, mut bytes) = (Vec::new(), 0);
                for (part, tally) in parts {
                    found.extend(part);
                    bytes += tally.bytes();
                }
                prop_assert_eq!(found, expected);
                prop_assert_eq!(bytes, content.len() as u64);
            }
        }
    }

    #[test]
    fn only_what_can_be_cut_is_read_in_ranges() {
        let file = Scratch::new("ranges", b"a\n\nb");
        for source in [
            text(&file.0, Some("\n\n"), Some(1..2)),
            text(&file.0, None, Some(1..2)),
            Source { compression: Compression::Gzip, ..text(&file.0, Some("\n"), Some(1..2)) },
        ] {
            let error = Reader::open(&source, 10).err().unwrap().to_string();
            assert!(error.contains("read the whole file"), "{error}");
        }
    }

    #[test]
    fn a_long_record_is_passed_over_without_being_held() {
        let content = format!("a\n{}\nz\n", "long ".repeat(1 << 20));
        let file = Scratch::new("long", content.as_bytes());
        let mut reader = Reader::open(&text(&file.0, Some("\n"), None), 1 << 20).unwrap();
        let length = 5 << 20;
        let mut sizes = Vec::new();
        while let Some(batch) = reader.next_batch().unwrap() {
            sizes.push((batch.len, batch.bytes.len(), batch.too_long));
            assert!(reader.pending.capacity() <= 4 << 20);
        }
        assert_eq!(sizes, [(2, 2, None), (length + 1, SAMPLE_BYTES, Some(length)), (2, 2, None), (0, 0, None)]);
    }
}
