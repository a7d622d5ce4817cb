//! pretokens -> weighted counts.

mod corpus;
mod counter;
mod long;
mod merge;
mod rules;
mod runs;
mod source;
mod spill;
mod table;
mod total;

pub(crate) use corpus::{for_each_chunk, for_each_piece};
pub use counter::{CountOptions, Counter, merge_counts, read_count_summary};
pub(crate) use long::LongCounts;
pub use rules::{CountRules, CountSummary};
pub(crate) use runs::RunReader;
pub use source::{ReadPolicy, SourceCount};
pub(crate) use source::{Reading, for_each_document};
pub(crate) use table::CountTable;
pub(crate) use total::Total;

#[cfg(test)]
mod testing {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A directory that is removed when the test ends.
    pub(super) struct TestDirectory(PathBuf);

    impl TestDirectory {
        pub(super) fn new() -> Self {
            static NUM_CREATED: AtomicU64 = AtomicU64::new(0);
            let number = NUM_CREATED.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("bpe-count-{}-{number}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(super) fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        pub(super) fn names(&self) -> Vec<String> {
            let entries = std::fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort_unstable();
            names
        }
    }

    impl Drop for TestDirectory {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }
}
