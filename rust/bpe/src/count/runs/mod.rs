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

mod reader;
mod writer;

use xxhash_rust::xxh3::Xxh3;

pub(crate) use self::reader::RunReader;
pub(crate) use self::writer::RunWriter;
use super::rules::{CountRules, CountSummary};

const MAGIC: [u8; 8] = *b"cs336cnt";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 56;
/// More than any rules that make sense.
const MAX_RULES_BYTES: u32 = 16 << 20;

fn header_checksum(header: &[u8], rules: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(header);
    hash.update(rules);
    hash.digest()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::count::testing::TestDirectory;
    use crate::error::{Error, Result};

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
