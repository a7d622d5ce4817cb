//! Counting texts into a file, within a bound of memory.

use std::path::{Path, PathBuf};

use super::merge::{merge, open_all};
use super::rules::{CountRules, CountSummary};
use super::runs::{RunReader, RunWriter};
use super::spill::{SpillDirectory, SpillingTable, for_each_in_order};
use super::table::CountTable;
use super::{ReadPolicy, Reading, SourceCount, Total, for_each_chunk, for_each_document, for_each_piece};
use crate::control::Control;
use crate::corpus::Source;
use crate::error::{Error, Result};
use crate::files::text::TextFile;
use crate::split::cut::Cutter;
use crate::split::{Pattern, SpecialTokens};

/// Files that are read side by side; each has a buffer.
const MAX_FAN_IN: usize = 64;

/// How to count.
#[derive(Clone, Debug)]
pub struct CountOptions {
    /// Boundaries in the text, which are never counted.
    pub special_tokens: Vec<String>,
    /// How text is divided into pretokens.
    pub pattern: Pattern,
    /// At least 1; the counts do not depend on it.
    pub num_threads: usize,
    /// About how much memory the tables of all threads may take together, at least 1 MiB. What is more goes to disk.
    pub memory_bytes: u64,
}

/// Counts the pretokens of texts, from as many sources as there are, into a file of counts.
///
/// The file is a function of the multiset of pretokens alone: however a corpus is spread over sources and counters,
/// their counts add up to the same bytes.
#[derive(Debug)]
pub struct Counter {
    options: CountOptions,
    specials: SpecialTokens,
    rules: CountRules,
    destination: PathBuf,
    directory: SpillDirectory,
    /// One for each thread that has counted.
    tables: Vec<SpillingTable>,
    total: Total,
}

impl Counter {
    /// Prepares to write the counts to `destination`; what does not fit into the memory goes to a directory beside it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for options out of range, [`Error::Io`] if the directory cannot be made.
    pub fn create(destination: &Path, options: CountOptions) -> Result<Self> {
        let specials = SpecialTokens::new(&options.special_tokens)?;
        if options.num_threads == 0 {
            return Err(Error::invalid("num_threads must be at least 1, got 0"));
        }
        if options.memory_bytes < 1 << 20 {
            let got = options.memory_bytes;
            return Err(Error::invalid(format!("the memory for counting must be at least 1 MiB, got {got} bytes")));
        }
        let rules = CountRules::new(&options.pattern, &options.special_tokens);
        let directory = SpillDirectory::create(destination, rules.clone())?;
        let destination = destination.to_owned();
        Ok(Self { options, specials, rules, destination, directory, tables: Vec::new(), total: Total::default() })
    }

    /// Counts a UTF-8 text file, as if it were there `weight` times.
    ///
    /// # Errors
    /// As [`Trainer::count_file`](crate::Trainer::count_file), and [`Error::Io`] if tables cannot be written.
    pub fn count_file(&mut self, path: &Path, weight: u64, control: &Control) -> Result<()> {
        let file = TextFile::open(path, control)?;
        self.total.add(file.len(), weight)?;
        let Self { options, specials, directory, tables, .. } = self;
        let cutter = Cutter { pattern: &options.pattern, specials };
        let limit_bytes = options.memory_bytes / options.num_threads as u64;
        let count = |table: &mut SpillingTable, text: &str| {
            table.table.add_text(text, weight, cutter, control)?;
            table.spill_if_large(limit_bytes, directory)
        };
        for_each_chunk(tables, SpillingTable::new, &file, cutter, options.num_threads, control, count)
    }

    /// Counts the documents of a source, as if each were there `weight` times.
    ///
    /// # Errors
    /// As [`Trainer::count_source`](crate::Trainer::count_source), and [`Error::Io`] if tables cannot be written.
    pub fn count_source(
        &mut self,
        source: &Source,
        policy: ReadPolicy,
        weight: u64,
        control: &Control,
    ) -> Result<SourceCount> {
        let Self { options, specials, directory, tables, total, .. } = self;
        let cutter = Cutter { pattern: &options.pattern, specials };
        let reading = Reading { policy, weight, cutter, num_threads: options.num_threads, control };
        let limit_bytes = options.memory_bytes / options.num_threads as u64;
        let count = |table: &mut SpillingTable, text: &str| {
            table.table.add_text(text, weight, cutter, control)?;
            table.spill_if_large(limit_bytes, directory)
        };
        for_each_document(tables, total, SpillingTable::new, source, reading, count)
    }

    /// Counts texts, each a document of its own, as if they were there `weight` times.
    ///
    /// # Errors
    /// As [`count_file`](Self::count_file) but for those of reading.
    pub fn count_texts<S: AsRef<str> + Sync>(&mut self, texts: &[S], weight: u64, control: &Control) -> Result<()> {
        self.total.add(texts.iter().map(|text| text.as_ref().len()).sum(), weight)?;
        let Self { options, specials, directory, tables, .. } = self;
        let cutter = Cutter { pattern: &options.pattern, specials };
        let limit_bytes = options.memory_bytes / options.num_threads as u64;
        let count = |table: &mut SpillingTable, text: &str| {
            table.table.add_text(text, weight, cutter, control)?;
            table.spill_if_large(limit_bytes, directory)
        };
        for_each_piece(tables, SpillingTable::new, texts, cutter, options.num_threads, control, count)
    }

    /// Writes the file of counts.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Interrupted`].
    pub fn finish(self, control: &Control) -> Result<CountSummary> {
        let Self { options, rules, destination, directory, mut tables, total, .. } = self;
        if tables.iter().all(|table| table.runs.is_empty()) {
            control.begin("sum", 0);
            let tables = tables.into_iter().map(|table| table.table).collect();
            let tables = CountTable::merge_all(tables, options.num_threads)?;
            let mut writer = RunWriter::create(&destination, &rules)?;
            for_each_in_order(&tables, |pretoken, count| writer.push(pretoken, count))?;
            return writer.finish(total.num_bytes());
        }
        tables.iter_mut().try_for_each(|table| table.spill(&directory))?;
        let runs = tables.into_iter().flat_map(|table| table.runs).collect();
        sum_runs(runs, &directory, &destination, &rules, Some(total.num_bytes()), control)
    }
}

/// Adds up files of counts by the same rules, in memory that does not depend on their size.
///
/// # Errors
/// [`Error::InvalidArgument`] if there are none, or one was counted by other rules than the first;
/// [`Error::Malformed`] for a damaged one; [`Error::Io`], [`Error::Interrupted`].
pub fn merge_counts<P: AsRef<Path>>(inputs: &[P], destination: &Path, control: &Control) -> Result<CountSummary> {
    let Some(first) = inputs.first() else {
        return Err(Error::invalid("there are no counts to add up, expected at least one file"));
    };
    let rules = RunReader::open(first.as_ref())?.summary().rules.clone();
    let directory = SpillDirectory::create(destination, rules.clone())?;
    let inputs = inputs.iter().map(|path| path.as_ref().to_owned()).collect();
    sum_runs(inputs, &directory, destination, &rules, None, control)
}

/// What is in a file of counts: how it was counted, and how much.
///
/// # Errors
/// [`Error::Io`]; [`Error::Malformed`] for a damaged one.
pub fn read_count_summary(path: &Path) -> Result<CountSummary> {
    Ok(RunReader::open(path)?.summary().clone())
}

/// Sums up runs into `destination`, a bounded number of them at a time.
fn sum_runs(
    mut runs: Vec<PathBuf>,
    directory: &SpillDirectory,
    destination: &Path,
    rules: &CountRules,
    num_bytes: Option<u64>,
    control: &Control,
) -> Result<CountSummary> {
    control.begin("sum", 0);
    while runs.len() > MAX_FAN_IN {
        let group: Vec<PathBuf> = runs.drain(..MAX_FAN_IN).collect();
        let sum = directory.next_path();
        sum_group(&group, &sum, rules, None, control)?;
        for run in group.iter().filter(|run| directory.holds(run)) {
            std::fs::remove_file(run).map_err(Error::io(run))?;
        }
        runs.push(sum);
    }
    sum_group(&runs, destination, rules, num_bytes, control)
}

fn sum_group(
    runs: &[PathBuf],
    destination: &Path,
    rules: &CountRules,
    num_bytes: Option<u64>,
    control: &Control,
) -> Result<CountSummary> {
    let (readers, num_bytes_of_runs) = open_all(runs, rules)?;
    let mut writer = RunWriter::create(destination, rules)?;
    merge(readers, control, |pretoken, count| writer.push(pretoken, count))?;
    writer.finish(num_bytes.unwrap_or(num_bytes_of_runs))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::count::testing::TestDirectory;
    use crate::{TrainOptions, Trained, Trainer};

    fn options(num_threads: usize) -> CountOptions {
        CountOptions {
            special_tokens: vec!["<s>".into()],
            pattern: Pattern::parse("gpt2").unwrap(),
            num_threads,
            memory_bytes: 1 << 20,
        }
    }

    fn count(path: &Path, texts: &[String], weight: u64, num_threads: usize) -> CountSummary {
        let mut counter = Counter::create(path, options(num_threads)).unwrap();
        counter.count_texts(texts, weight, &Control::new()).unwrap();
        counter.finish(&Control::new()).unwrap()
    }

    fn trainer() -> Trainer {
        let special_tokens = vec!["<s>".into()];
        Trainer::new(TrainOptions { vocab_size: 300, special_tokens, ..TrainOptions::default() }).unwrap()
    }

    fn trained_on_counts(paths: &[PathBuf]) -> Trained {
        let mut trainer = trainer();
        for path in paths {
            trainer.add_counts(path, &Control::new()).unwrap();
        }
        trainer.finish(&Control::new()).unwrap()
    }

    /// So many different words, some of them long, that tables of 1 MiB spill again and again.
    fn many_words(num_words: usize) -> String {
        (0..num_words).map(|word| format!(" {}", word * 7919 % 1_000_003).replace('0', "zero")).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_corpus_may_be_divided_anyhow(
            texts in prop::collection::vec("([a-c]{1,3} |<s>|[x]{14,17}){0,20}", 0..12),
            parts in prop::collection::vec((0_usize..12, 1_usize..4), 1..4),
        ) {
            let directory = TestDirectory::new();
            let whole = directory.file("whole.counts");
            count(&whole, &texts, 1, 1);
            let mut ends: Vec<usize> = parts.iter().map(|(end, _)| (*end).min(texts.len())).collect();
            ends.sort_unstable();
            *ends.last_mut().unwrap() = texts.len();
            let mut start = 0;
            let mut files = Vec::new();
            for (index, end) in ends.into_iter().enumerate() {
                files.push(directory.file(&format!("{index}.counts")));
                count(&files[index], &texts[start..end], 1, parts[index].1);
                start = end;
            }
            let sum = directory.file("sum.counts");
            merge_counts(&files, &sum, &Control::new()).unwrap();
            prop_assert_eq!(std::fs::read(&sum).unwrap(), std::fs::read(&whole).unwrap());

            let mut trainer = trainer();
            trainer.count_texts(&texts, 1, &Control::new()).unwrap();
            let expected = trainer.finish(&Control::new()).unwrap();
            prop_assert_eq!(trained_on_counts(&files), expected.clone());
            prop_assert_eq!(trained_on_counts(&[sum]), expected);
        }
    }

    #[test]
    fn what_does_not_fit_into_memory_goes_to_disk_and_comes_back() {
        let directory = TestDirectory::new();
        let text = many_words(150_000);
        let source = directory.file("text.txt");
        std::fs::write(&source, &text).unwrap();
        let roomy = CountOptions { memory_bytes: 1 << 30, ..options(2) };
        let mut counter = Counter::create(&directory.file("roomy.counts"), roomy).unwrap();
        counter.count_texts(&[&text], 3, &Control::new()).unwrap();
        let expected = counter.finish(&Control::new()).unwrap();
        assert_eq!(expected.num_bytes, 3 * text.len() as u64);

        let narrow = directory.file("narrow.counts");
        let mut counter = Counter::create(&narrow, options(2)).unwrap();
        let middle = text.len() / 2 + text[text.len() / 2..].find(' ').unwrap();
        for part in [&text[..middle], &text[middle..]] {
            std::fs::write(&source, part).unwrap();
            counter.count_file(&source, 3, &Control::new()).unwrap();
        }
        assert!(counter.tables.iter().any(|table| !table.runs.is_empty()), "nothing was spilled");
        assert_eq!(counter.finish(&Control::new()).unwrap(), expected);
        assert_eq!(std::fs::read(narrow).unwrap(), std::fs::read(directory.file("roomy.counts")).unwrap());
        assert_eq!(directory.names(), ["narrow.counts", "roomy.counts", "text.txt"], "spilled files are left");
    }

    #[test]
    fn more_files_than_are_read_side_by_side_add_up() {
        let directory = TestDirectory::new();
        let files: Vec<PathBuf> = (0..2 * MAX_FAN_IN + 3).map(|index| directory.file(&format!("{index}"))).collect();
        for (index, file) in files.iter().enumerate() {
            count(file, &[format!("all {index}")], 1, 1);
        }
        let sum = directory.file("sum");
        let summary = merge_counts(&files, &sum, &Control::new()).unwrap();
        assert_eq!(summary.num_pretokens, 1 + files.len() as u64);
        let mut reader = RunReader::open(&sum).unwrap();
        while reader.advance().unwrap() {
            let (pretoken, count) = reader.current();
            assert_eq!(count, if pretoken == b"all" { files.len() as u64 } else { 1 }, "{pretoken:?}");
        }
        assert!(files.iter().all(|file| file.exists()), "an input was removed");
    }

    #[test]
    fn counts_beyond_32_bits_add_up() {
        let directory = TestDirectory::new();
        let [one, two, sum] = ["one", "two", "sum"].map(|name| directory.file(name));
        count(&one, &["the end".into()], (1 << 31) + 1, 1);
        count(&two, &["the".into()], (1 << 32) - 1, 1);
        merge_counts(&[&one, &two], &sum, &Control::new()).unwrap();
        let mut reader = RunReader::open(&sum).unwrap();
        reader.advance().unwrap();
        assert_eq!(reader.current(), (&b" end"[..], (1 << 31) + 1));
        reader.advance().unwrap();
        assert_eq!(reader.current(), (&b"the"[..], (1 << 31) + (1 << 32)));
    }

    #[test]
    fn counts_that_exceed_64_bits_are_refused() {
        let directory = TestDirectory::new();
        let one = directory.file("one");
        count(&one, &["ab".into()], 1 << 62, 1);
        let error = merge_counts(&[&one, &one], &directory.file("sum"), &Control::new()).unwrap_err();
        assert!(error.to_string().contains("divide all weights"), "{error}");
        let mut trainer = trainer();
        trainer.add_counts(&one, &Control::new()).unwrap();
        let error = trainer.add_counts(&one, &Control::new()).unwrap_err();
        assert!(error.to_string().contains("divide all weights"), "{error}");
        assert_eq!(directory.names(), ["one"]);
    }

    #[test]
    fn counts_by_other_rules_are_refused() {
        let directory = TestDirectory::new();
        let [one, two] = ["one", "two"].map(|name| directory.file(name));
        count(&one, &["a".into()], 1, 1);
        let other = CountOptions { special_tokens: vec![], ..options(1) };
        Counter::create(&two, other).unwrap().finish(&Control::new()).unwrap();
        let error = merge_counts(&[&one, &two], &directory.file("sum"), &Control::new()).unwrap_err();
        assert!(error.to_string().contains("was counted with the special tokens [], expected [\"<s>\"]"), "{error}");
        let error = trainer().add_counts(&two, &Control::new()).unwrap_err();
        assert!(error.to_string().contains("count its texts again"), "{error}");
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let directory = TestDirectory::new();
        let create = |options| Counter::create(&directory.file("x"), options).unwrap_err().to_string();
        assert!(create(options(0)).contains("num_threads must be at least 1"));
        assert!(create(CountOptions { memory_bytes: 5, ..options(1) }).contains("at least 1 MiB, got 5 bytes"));
        let none: [&Path; 0] = [];
        let error = merge_counts(&none, &directory.file("x"), &Control::new()).unwrap_err();
        assert!(error.to_string().contains("no counts to add up"));
        assert!(directory.names().is_empty());
    }
}
