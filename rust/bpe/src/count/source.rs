//! Counting the documents of a source, on all cores.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::Total;
use super::corpus::for_each_piece;
use crate::control::Control;
use crate::corpus::{Batch, Documents, Format, InvalidUtf8, Reason, Reject, Source, Tally, TextStream, for_each_batch};
use crate::error::{Error, Result};
use crate::split::cut::Cutter;

/// How much of a text without documents is counted at a time: enough for all threads, little to hold.
const STREAM_BYTES: usize = 16 << 20;

/// What becomes of records that are no documents.
#[derive(Clone, Copy, Debug)]
pub struct ReadPolicy {
    /// Of bytes that are not UTF-8.
    pub invalid_utf8: InvalidUtf8,
    /// A longer record is rejected.
    pub max_record_bytes: u64,
    /// With one more than so many rejected records it is an error; 0 for none at all.
    pub max_rejected: u64,
}

/// What became of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceCount {
    /// Of the bytes and records.
    pub tally: Tally,
    /// How many records were rejected for what.
    pub rejected: BTreeMap<Reason, u64>,
}

impl SourceCount {
    fn add(&mut self, other: &Self) {
        self.tally += other.tally;
        for (reason, count) in &other.rejected {
            *self.rejected.entry(*reason).or_default() += count;
        }
    }
}

/// How to go through a source.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) policy: ReadPolicy,
    pub(crate) weight: u64,
    pub(crate) cutter: Cutter<'a>,
    pub(crate) num_threads: usize,
    pub(crate) control: &'a Control,
}

/// Calls `work` with a table and the text of each document of `source`. Text without a separator has no documents: it
/// is cut where its parts give the pretokens of the whole, however long it is.
///
/// # Errors
/// [`Error::Io`] and [`Error::Malformed`] of reading; [`Error::Malformed`] that names the first rejected record if there
/// are more than the policy allows; [`Error::InvalidArgument`] if the counts may exceed 64 bits; [`Error::Interrupted`];
/// those of `work`.
pub(crate) fn for_each_document<T: Send>(
    tables: &mut Vec<T>,
    total: &mut Total,
    new_table: impl Fn() -> Result<T> + Sync,
    source: &Source,
    reading: Reading<'_>,
    work: impl Fn(&mut T, &str) -> Result<()> + Sync,
) -> Result<SourceCount> {
    reading.control.begin("count", source.file_bytes());
    if matches!(source.format, Format::Text { separator: None }) {
        return for_each_part(tables, total, new_table, source, reading, work);
    }
    let ReadPolicy { invalid_utf8, max_record_bytes, max_rejected } = reading.policy;
    let documents = Documents::new(&source.format, invalid_utf8, max_record_bytes)?;
    let idle = Mutex::new(std::mem::take(tables));
    // No text is longer than its record, but for the three bytes of U+FFFD in place of one.
    let most_per_byte = if invalid_utf8 == InvalidUtf8::Replace { 3 } else { 1 };
    let bound = Mutex::new(*total);
    let lend = || Lent { table: lock(&idle).pop(), idle: &idle };
    let count = |lent: &mut Lent<'_, T>, _: usize, batch: &Batch| {
        lock(&bound).add(most_per_byte * batch.bytes.len(), reading.weight)?;
        let table = match &mut lent.table {
            Some(table) => table,
            none => none.insert(new_table()?),
        };
        let mut found = SourceCount::default();
        let mut first = None;
        documents.for_each(batch, &mut found.tally, |record| {
            reading.control.check()?;
            match record {
                Ok(document) => return work(table, document.text),
                Err(reject) if max_rejected == 0 => return Err(refused(source, &reject, 0)),
                Err(reject) => {
                    *found.rejected.entry(reject.reason).or_default() += 1;
                    first = first.take().or(Some(reject));
                }
            }
            Ok(())
        })?;
        Ok((found, first))
    };
    let mut sum = SourceCount::default();
    let sources = std::slice::from_ref(source);
    let consume = |_, (found, first): (SourceCount, Option<Reject>)| {
        sum.add(&found);
        match first {
            Some(first) if sum.tally.rejected > max_rejected => Err(refused(source, &first, max_rejected)),
            _ => Ok(()),
        }
    };
    let counted = for_each_batch(sources, max_record_bytes, reading.num_threads, reading.control, lend, count, consume);
    *tables = idle.into_inner().unwrap_or_else(PoisonError::into_inner);
    counted?;
    let text_bytes = usize::try_from(sum.tally.text_bytes).map_err(|_| Error::OutOfMemory(usize::MAX))?;
    total.add(text_bytes, reading.weight)?;
    Ok(sum)
}

/// A table that goes back to the others when a thread is done.
struct Lent<'a, T> {
    table: Option<T>,
    idle: &'a Mutex<Vec<T>>,
}

impl<T> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        lock(self.idle).extend(self.table.take());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(source: &Source, reject: &Reject, max_rejected: u64) -> Error {
    let Reject { reason, offset, detail, .. } = reject;
    let reason = reason.name();
    let message = if max_rejected == 0 {
        format!(
            "the record at byte {offset} is no document: {reason} ({detail}); mend it, or let bad records be skipped"
        )
    } else {
        format!(
            "more than {max_rejected} records are no documents, one of the last at byte {offset}: {reason} ({detail}); \
             look at the file, or allow more"
        )
    };
    Error::malformed(&source.name(), message)
}

/// A text as a whole, a part at a time.
fn for_each_part<T: Send>(
    tables: &mut Vec<T>,
    total: &mut Total,
    new_table: impl Fn() -> Result<T> + Sync,
    source: &Source,
    reading: Reading<'_>,
    work: impl Fn(&mut T, &str) -> Result<()> + Sync,
) -> Result<SourceCount> {
    let Reading { policy, weight, cutter, num_threads, control } = reading;
    let mut stream = TextStream::open(source, policy.invalid_utf8)?;
    let mut sum = SourceCount::default();
    let mut wanted = STREAM_BYTES;
    loop {
        control.check()?;
        let may_go_on = stream.fill(wanted)?;
        let text = stream.text();
        let end = if may_go_on { cutter.last_after(text.as_bytes(), 0) } else { Some(text.len()) };
        let Some(end) = end else {
            wanted *= 2; // one pretoken without an end so far
            continue;
        };
        total.add(end, weight)?;
        for_each_piece(tables, &new_table, &[&text[..end]], cutter, num_threads, control, &work)?;
        stream.consume(end);
        control.advance(stream.file_bytes());
        wanted = STREAM_BYTES;
        if !may_go_on {
            break;
        }
    }
    sum.tally = stream.tally();
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::corpus::{Compression, DEFAULT_MAX_RECORD_BYTES};
    use crate::count::testing::TestDirectory;
    use crate::{TrainOptions, Trained, Trainer};

    const STRICT: ReadPolicy =
        ReadPolicy { invalid_utf8: InvalidUtf8::Reject, max_record_bytes: DEFAULT_MAX_RECORD_BYTES, max_rejected: 0 };

    fn trainer(num_threads: usize) -> Trainer {
        let special_tokens = vec!["<s>".to_owned()];
        Trainer::new(TrainOptions { vocab_size: 290, special_tokens, num_threads, ..TrainOptions::default() }).unwrap()
    }

    fn trained_on(source: &Source, policy: ReadPolicy, num_threads: usize) -> Result<(Trained, SourceCount)> {
        let mut trainer = trainer(num_threads);
        let found = trainer.count_source(source, policy, 3, &Control::new())?;
        Ok((trainer.finish(&Control::new())?, found))
    }

    fn trained_on_texts(texts: &[&str]) -> Trained {
        let mut trainer = trainer(1);
        trainer.count_texts(texts, 3, &Control::new()).unwrap();
        trainer.finish(&Control::new()).unwrap()
    }

    fn gzip(path: &Path, content: &[u8]) {
        let file = std::fs::File::create(path).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap();
    }

    fn jsonl() -> Format {
        Format::Jsonl { field: "text".into() }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn documents_count_as_texts_do(texts in prop::collection::vec("[ab é\\n]{0,9}(<s>)?", 0..30)) {
            let directory = TestDirectory::new();
            let lines: Vec<_> = texts.iter().map(|text| format!("{}\n", serde_json::json!({ "text": text }))).collect();
            gzip(&directory.file("a.gz"), lines.concat().as_bytes());
            let source = Source::new(directory.file("a.gz"), jsonl(), Compression::Gzip);
            let expected = trained_on_texts(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            for num_threads in [1, 2] {
                let (trained, found) = trained_on(&source, STRICT, num_threads).unwrap();
                prop_assert_eq!(&trained, &expected);
                prop_assert_eq!(found.tally.documents, texts.len() as u64);
            }
        }
    }

    #[test]
    fn a_long_compressed_text_is_counted_as_the_file_is() {
        let directory = TestDirectory::new();
        let lines: Vec<_> = (0..400_000_u64).map(|n| format!(" word{} größer<s>\n", n * n % 7919)).collect();
        let text = (lines.concat() + " \n").repeat(3);
        assert!(text.len() > STREAM_BYTES);
        gzip(&directory.file("a.txt.gz"), text.as_bytes());
        let source = Source::new(directory.file("a.txt.gz"), Format::Text { separator: None }, Compression::Gzip);
        let expected = trained_on_texts(&[&text]);
        let (trained, found) = trained_on(&source, STRICT, 2).unwrap();
        assert_eq!(trained, expected);
        assert_eq!(found.tally.text_bytes, text.len() as u64);
    }

    #[test]
    fn bad_records_are_errors_unless_they_are_allowed() {
        let directory = TestDirectory::new();
        let path = directory.file("a.jsonl");
        std::fs::write(&path, "{\"text\":\"ab ab\"}\n{\"text\":null}\n{}\nnone\n{\"text\":\"ab\"}\n").unwrap();
        let source = Source::new(&path, jsonl(), Compression::None);
        let error = trained_on(&source, STRICT, 2).unwrap_err().to_string();
        assert!(error.contains("the record at byte 17 is no document: not a string"), "{error}");
        let error = trained_on(&source, ReadPolicy { max_rejected: 2, ..STRICT }, 2).unwrap_err().to_string();
        assert!(error.contains("more than 2 records are no documents"), "{error}");
        let (trained, found) = trained_on(&source, ReadPolicy { max_rejected: 3, ..STRICT }, 2).unwrap();
        assert_eq!(trained, trained_on_texts(&["ab ab", "ab"]));
        assert_eq!(found.tally.rejected, 3);
        let reasons = [(Reason::InvalidJson, 1), (Reason::MissingText, 1), (Reason::NotAString, 1)];
        assert_eq!(found.rejected.into_iter().collect::<Vec<_>>(), reasons);
    }

    #[test]
    fn what_is_not_utf8_is_an_error_or_replaced() {
        let directory = TestDirectory::new();
        // A character across the blocks that are read, and bytes that are none at the very end.
        let mut content = vec![b'a'; (1 << 18) - 1];
        content.extend("é b".bytes());
        content.extend([0xFF, b'c', 0xC3]);
        gzip(&directory.file("a.gz"), &content);
        let source = Source::new(directory.file("a.gz"), Format::Text { separator: None }, Compression::Gzip);
        let error = trained_on(&source, STRICT, 1).unwrap_err().to_string();
        assert!(error.contains(&format!("invalid UTF-8 at byte {} (0xFF)", (1 << 18) + 3)), "{error}");
        let replace = ReadPolicy { invalid_utf8: InvalidUtf8::Replace, ..STRICT };
        let (trained, found) = trained_on(&source, replace, 1).unwrap();
        assert_eq!(trained, trained_on_texts(&[&String::from_utf8_lossy(&content)]));
        assert_eq!(found.tally.repaired_documents, 1);
    }

    #[test]
    fn a_file_that_is_cut_off_is_an_error() {
        let directory = TestDirectory::new();
        gzip(&directory.file("a.gz"), "{\"text\":\"ab\"}\n".repeat(1000).as_bytes());
        let whole = std::fs::read(directory.file("a.gz")).unwrap();
        std::fs::write(directory.file("a.gz"), &whole[..whole.len() - 9]).unwrap();
        for format in [jsonl(), Format::Text { separator: None }] {
            let source = Source::new(directory.file("a.gz"), format, Compression::Gzip);
            let error = trained_on(&source, STRICT, 2).unwrap_err().to_string();
            assert!(error.contains("is cut off"), "{error}");
        }
    }
}
