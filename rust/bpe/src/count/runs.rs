//! Counts in a file: pretokens in the order of their bytes, each once, with how often it occurs.
//!
//! ```text
//! 8  magic "cs336cnt"            8  number of pretokens
//! 4  version 1                   8  bytes of text that were counted, each as often as it weighed
//! 4  length of the rules         8  length of the records
//! .  checksum of all above and the rules (8), checksum of the records (8)
//! .  the rules: JSON, {"pattern": regular expression, "special_tokens": [...]}
//! .  the records: length of the pretoken, its bytes, its count; numbers as LEB128
//! ```
//!
//! All integers are little-endian, the checksums are XXH3 of 64 bits. Files in this order are added up by going through
//! them side by side, in memory that does not depend on their size; and counts by other rules are refused, for they
//! would be counts of other things.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::rules::{CountRules, CountSummary};
use crate::error::{Error, Result};
use crate::files::atomic::AtomicFile;

const MAGIC: [u8; 8] = *b"cs336cnt";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 56;
/// More than any rules that make sense.
const MAX_RULES_BYTES: u32 = 16 << 20;

/// Writes pretokens in ascending order; the file appears, whole, when finished.
pub(crate) struct RunWriter {
    file: AtomicFile,
    rules: Vec<u8>,
    summary: CountSummary,
    records_bytes: u64,
    hash: Xxh3,
    /// Records that are not written yet.
    buffer: Vec<u8>,
}

impl RunWriter {
    const BUFFER_BYTES: usize = 1 << 16;

    pub(crate) fn create(path: &Path, rules: &CountRules) -> Result<Self> {
        let mut file = AtomicFile::create(path)?;
        let rules_json =
            serde_json::to_vec(rules).map_err(|error| Error::invalid(format!("the rules of counting: {error}")))?;
        file.write(&[0; HEADER_BYTES])?;
        file.write(&rules_json)?;
        let summary = CountSummary { rules: rules.clone(), num_pretokens: 0, num_bytes: 0 };
        let buffer = Vec::with_capacity(Self::BUFFER_BYTES);
        Ok(Self { file, rules: rules_json, summary, records_bytes: 0, hash: Xxh3::new(), buffer })
    }

    /// The caller sees to it that each pretoken is greater than the one before, and counted at least once.
    pub(crate) fn push(&mut self, pretoken: &[u8], count: u64) -> Result<()> {
        push_varint(&mut self.buffer, pretoken.len() as u64);
        self.buffer.extend_from_slice(pretoken);
        push_varint(&mut self.buffer, count);
        self.summary.num_pretokens += 1;
        if self.buffer.len() >= Self::BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.hash.update(&self.buffer);
        self.records_bytes += self.buffer.len() as u64;
        self.file.write(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the header and puts the file under its name.
    pub(crate) fn finish(mut self, num_bytes: u64) -> Result<CountSummary> {
        self.flush()?;
        self.summary.num_bytes = num_bytes;
        let mut header = MAGIC.to_vec();
        header.extend(VERSION.to_le_bytes());
        header.extend((self.rules.len() as u32).to_le_bytes());
        header.extend(self.summary.num_pretokens.to_le_bytes());
        header.extend(num_bytes.to_le_bytes());
        header.extend(self.records_bytes.to_le_bytes());
        header.extend(header_checksum(&header, &self.rules).to_le_bytes());
        header.extend(self.hash.digest().to_le_bytes());
        self.file.write_at_start(&header)?;
        self.file.commit()?;
        Ok(self.summary)
    }
}

/// Reads pretokens in ascending order, and finds out at the end whether they are those that were written.
pub(crate) struct RunReader {
    path: PathBuf,
    file: File,
    summary: CountSummary,
    checksum: u64,
    hash: Xxh3,
    /// Bytes of the file that are not in the buffer yet, and pretokens that are still to come.
    bytes_left: u64,
    pretokens_left: u64,
    /// Records that were read; from `at` on they are still to come.
    buffer: Vec<u8>,
    at: usize,
    pretoken: Vec<u8>,
    count: u64,
    /// The bytes of the pretokens so far, each as often as it was counted.
    num_counted_bytes: u128,
}

impl RunReader {
    const BUFFER_BYTES: usize = 1 << 17;

    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] if it is no file of counts, of another version, truncated, or its header is
    /// damaged.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let num_bytes_of_file = file.metadata().map_err(Error::io(path))?.len();
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header).map_err(|error| cut_short(path, error))?;
        let field = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        let (version, rules_bytes) = (field(8) as u32, (field(8) >> 32) as u32);
        if header[..8] != MAGIC {
            return Err(Error::malformed(path, "not a file of counts; `cs336 tokenizer count` writes them"));
        }
        if version != VERSION {
            return Err(Error::malformed(
                path,
                format!("counts of version {version}, expected {VERSION}; count again"),
            ));
        }
        let (num_pretokens, num_bytes, records_bytes) = (field(16), field(24), field(32));
        let expected = u128::from(records_bytes) + u128::from(rules_bytes) + HEADER_BYTES as u128;
        if rules_bytes > MAX_RULES_BYTES || u128::from(num_bytes_of_file) != expected {
            let message = format!("{num_bytes_of_file} bytes long, its header says {expected}");
            return Err(Error::malformed(path, message + ": it is damaged; count again"));
        }
        let mut rules = vec![0; rules_bytes as usize];
        file.read_exact(&mut rules).map_err(|error| cut_short(path, error))?;
        if header_checksum(&header[..40], &rules) != field(40) {
            return Err(Error::malformed(path, "the checksum of the header is wrong: it is damaged; count again"));
        }
        let rules = serde_json::from_slice(&rules)
            .map_err(|error| Error::malformed(path, format!("the rules of counting: {error}")))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            summary: CountSummary { rules, num_pretokens, num_bytes },
            checksum: field(48),
            hash: Xxh3::new(),
            bytes_left: records_bytes,
            pretokens_left: num_pretokens,
            buffer: Vec::new(),
            at: 0,
            pretoken: Vec::new(),
            count: 0,
            num_counted_bytes: 0,
        })
    }

    pub(crate) fn summary(&self) -> &CountSummary {
        &self.summary
    }

    /// Goes on to the next pretoken; `false` after the last one.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Malformed`] for records that are not as they were written. Some of these errors come
    /// only at the end: nothing that was read may be relied upon before.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        if self.pretokens_left == 0 {
            let is_at_end = self.bytes_left == 0 && self.at == self.buffer.len();
            return if is_at_end && self.hash.digest() == self.checksum { Ok(false) } else { Err(self.damaged()) };
        }
        self.pretokens_left -= 1;
        let length = self.read_varint()?;
        let Ok(length) = usize::try_from(length) else { return Err(self.damaged()) };
        self.fill(length)?;
        let Some(next) = self.buffer[self.at..].get(..length).filter(|next| **next > self.pretoken[..]) else {
            return Err(self.damaged());
        };
        self.pretoken.clear();
        self.pretoken.extend_from_slice(next);
        self.at += length;
        self.count = self.read_varint()?;
        self.num_counted_bytes += length as u128 * u128::from(self.count);
        // With no more than that, no sum of counts can exceed 64 bits.
        let is_possible = self.count > 0 && self.num_counted_bytes <= u128::from(self.summary.num_bytes);
        if is_possible { Ok(true) } else { Err(self.damaged()) }
    }

    /// The pretoken last advanced to, and its count.
    pub(crate) fn current(&self) -> (&[u8], u64) {
        (&self.pretoken, self.count)
    }

    fn read_varint(&mut self) -> Result<u64> {
        self.fill(10)?;
        let mut value = 0_u64;
        for (index, &byte) in self.buffer[self.at..].iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7F);
            if index == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(self.damaged())
    }

    /// Sees to it that so many bytes are in the buffer, or all that are left.
    fn fill(&mut self, num_bytes: usize) -> Result<()> {
        if self.buffer.len() - self.at >= num_bytes || self.bytes_left == 0 {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let start = self.buffer.len();
        let wanted = num_bytes.max(Self::BUFFER_BYTES) as u64;
        // No more than the file holds, whatever length a damaged record tells.
        let wanted = wanted.min(self.bytes_left) as usize;
        self.buffer.try_reserve(wanted).map_err(|_| Error::OutOfMemory(wanted))?;
        self.buffer.resize(start + wanted, 0);
        self.file.read_exact(&mut self.buffer[start..]).map_err(|error| cut_short(&self.path, error))?;
        self.hash.update(&self.buffer[start..]);
        self.bytes_left -= wanted as u64;
        Ok(())
    }

    fn damaged(&self) -> Error {
        Error::malformed(&self.path, "its records are not those that were written: it is damaged; count again")
    }
}

fn header_checksum(header: &[u8], rules: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(header);
    hash.update(rules);
    hash.digest()
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn cut_short(path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Error::malformed(path, "ends too early to be a file of counts: it is damaged; count again");
    }
    Error::io(path)(error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::count::testing::TestDirectory;

    fn rules() -> CountRules {
        CountRules { pattern: "x+".into(), special_tokens: vec!["<s>".into()] }
    }

    fn write(path: &Path, records: &[(Vec<u8>, u64)]) {
        let mut writer = RunWriter::create(path, &rules()).unwrap();
        for (pretoken, count) in records {
            writer.push(pretoken, *count).unwrap();
        }
        writer.finish(u64::MAX).unwrap();
    }

    fn read(path: &Path) -> Result<Vec<(Vec<u8>, u64)>> {
        let mut reader = RunReader::open(path)?;
        let mut records = Vec::new();
        while reader.advance()? {
            records.push((reader.current().0.to_vec(), reader.current().1));
        }
        Ok(records)
    }

    fn few_records() -> Vec<(Vec<u8>, u64)> {
        vec![(b"a".to_vec(), 1), (b"a\0".to_vec(), 1 << 33), (b"the".to_vec(), 300), (vec![b'z'; 200], 2)]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            records in prop::collection::btree_map(prop::collection::vec(0_u8.., 1..300), 1_u64..1 << 40, 0..300),
        ) {
            let directory = TestDirectory::new();
            let records: Vec<_> = records.into_iter().collect();
            write(&directory.file("run"), &records);
            prop_assert_eq!(read(&directory.file("run")).unwrap(), records);
        }
    }

    #[test]
    fn pretokens_longer_than_the_buffer_are_read() {
        let directory = TestDirectory::new();
        let records = vec![(vec![7; 3 * RunReader::BUFFER_BYTES], 1), (vec![8; RunReader::BUFFER_BYTES], 2)];
        write(&directory.file("run"), &records);
        assert_eq!(read(&directory.file("run")).unwrap(), records);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_found() {
        let directory = TestDirectory::new();
        let path = directory.file("run");
        write(&path, &few_records());
        let bytes = std::fs::read(&path).unwrap();
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << (position % 8);
            std::fs::write(&path, &damaged).unwrap();
            assert!(matches!(read(&path), Err(Error::Malformed { .. })), "byte {position} flipped");
            std::fs::write(&path, &bytes[..position]).unwrap();
            assert!(matches!(read(&path), Err(Error::Malformed { .. })), "cut to {position} bytes");
        }
        std::fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
        assert!(matches!(read(&path), Err(Error::Malformed { .. })), "a byte too many");
    }

    /// A file whose checksums are right and whose records are not.
    #[test]
    fn impossible_records_are_refused() {
        let directory = TestDirectory::new();
        let path = directory.file("run");
        for records in [
            vec![(b"b".to_vec(), 1), (b"a".to_vec(), 1)],
            vec![(b"a".to_vec(), 1), (b"a".to_vec(), 1)],
            vec![(b"a".to_vec(), 0)],
            vec![(Vec::new(), 1)],
            vec![(b"aaa".to_vec(), u64::MAX), (b"b".to_vec(), u64::MAX)],
        ] {
            write(&path, &records);
            assert!(matches!(read(&path), Err(Error::Malformed { .. })), "{records:?}");
        }
    }

    #[test]
    fn other_rules_are_told_apart() {
        let path = Path::new("a.counts");
        let other = CountRules { pattern: "y+".into(), ..rules() };
        let message = rules().check_equal(path, &other).unwrap_err().to_string();
        assert_eq!(message, r#"a.counts was counted with the pattern "y+", expected "x+"; count its texts again"#);
        let other = CountRules { special_tokens: vec![], ..rules() };
        let message = rules().check_equal(path, &other).unwrap_err().to_string();
        assert!(message.contains(r#"the special tokens [], expected ["<s>"]"#), "{message}");
    }
}
