//! All documents of a split in an order that a seed decides: an exact shuffle, in bounded memory, on all cores.
//!
//! ```text
//! shards, in order -> each document to the bucket of its key -> buckets, sorted in memory -> shards, shuffled
//!                     scattering: shard by shard                 gathering: shard by shard
//! ```
//!
//! Everything is read and written in long stretches: to fetch the documents one by one, in the order of their keys, would
//! be a random access each. The ids are read twice and written twice, and stand on disk three times until the end.

mod bucket;
mod key;
mod unshuffled;

use std::collections::HashSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use self::bucket::{BucketSummary, Buckets, HEADER_BYTES, Header, LoadedBucket};
use self::key::key;
pub use self::unshuffled::UnshuffledShard;
use self::unshuffled::for_each_document;
use super::ids::IdType;
use super::output::{CrashPoint, Journal};
use super::shard::{Committed, Entry, Position, SPLITS, ShardLayout, ShardWriter, remove_temporary};
use crate::control::Control;
use crate::encode::Tokenizer;
use crate::error::{Error, Result};
use crate::files::write_file;
use crate::parallel::for_each_index;

/// No more buckets than that, each with a buffer of 64 kB; where there is more to shuffle they are larger.
const MAX_BUCKETS: u64 = 4096;

/// A shuffle and where it stands.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shuffle {
    /// The corpus directory.
    pub directory: PathBuf,
    /// Where buckets may stand meanwhile; a directory of its own.
    pub buckets: PathBuf,
    /// Tells the temporary files of several writers apart.
    pub writer: String,
    /// What the shards belong to, `"train"` or `"valid"`.
    pub split: String,
    /// Decides the order.
    pub seed: u64,
    /// Ids in a shard; only the last one has fewer.
    pub tokens_per_shard: u64,
    /// About how large a bucket is, at least 1: each thread holds one in memory.
    pub bucket_bytes: u64,
    /// Whether to note the input and place of each document.
    pub with_sources: bool,
    /// The documents, in order.
    pub shards: Vec<UnshuffledShard>,
    /// Length of the part of the journal that holds, in bytes.
    pub journal_bytes: u64,
    /// The numbers of the shards that it lists.
    pub committed: Vec<u64>,
}

/// What the file beside the buckets says once they are complete.
#[derive(Serialize, Deserialize)]
struct BucketIndex {
    /// Hash of the hashes of the shards that they were filled from.
    of: String,
    seed: u64,
    buckets: Vec<BucketSummary>,
}

/// Writes the documents in their new order, from wherever an earlier call was stopped. The bytes that come out do not
/// depend on the number of threads.
///
/// # Errors
/// [`Error::Io`] and [`Error::Write`]; [`Error::Malformed`] for a shard or bucket that has changed;
/// [`Error::Interrupted`]. All committed shards stay.
pub fn run_shuffle(
    tokenizer: &Tokenizer,
    shuffle: &Shuffle,
    num_threads: usize,
    control: &Control,
    crash: &CrashPoint,
) -> Result<()> {
    let work = Work { tokenizer, shuffle, id_type: IdType::of(tokenizer), num_threads, control, crash };
    remove_temporary(&shuffle.directory, &format!(".{}-00000-", shuffle.split))?;
    let tokens: u64 = shuffle.shards.iter().map(|shard| shard.tokens).sum();
    control.begin("shuffle", 2 * tokens);
    let buckets = match work.complete_buckets() {
        Some(buckets) => {
            control.advance(tokens);
            buckets
        }
        None => work.scatter()?,
    };
    work.gather(&buckets)
}

impl Shuffle {
    /// From a JSON object with the fields of this type.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for one that is unknown, missing or of another type.
    pub fn from_json(json: &str) -> Result<Self> {
        let shuffle: Self = serde_json::from_str(json)
            .map_err(|error| Error::invalid(format!("the shuffle is not understood: {error}")))?;
        if shuffle.tokens_per_shard == 0 {
            return Err(Error::invalid("tokens_per_shard must be at least 1, got 0"));
        }
        shuffle.split()?;
        Ok(shuffle)
    }

    fn split(&self) -> Result<&'static str> {
        let known = SPLITS.into_iter().find(|split| *split == self.split);
        known.ok_or_else(|| Error::invalid(format!("split must be one of {SPLITS:?}, got {:?}", self.split)))
    }

    fn index_path(&self) -> PathBuf {
        self.buckets.join("index.json")
    }

    /// Tells what was shuffled before from what is to be shuffled now.
    fn content_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for shard in &self.shards {
            hasher.update(shard.blake3.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

struct Work<'t> {
    tokenizer: &'t Tokenizer,
    shuffle: &'t Shuffle,
    id_type: IdType,
    num_threads: usize,
    control: &'t Control,
    crash: &'t CrashPoint,
}

impl Work<'_> {
    /// The buckets of an earlier call, if it came to fill them all.
    fn complete_buckets(&self) -> Option<Vec<BucketSummary>> {
        let content = std::fs::read(self.shuffle.index_path()).ok()?;
        let index: BucketIndex = serde_json::from_slice(&content).ok()?;
        (index.of == self.shuffle.content_hash() && index.seed == self.shuffle.seed).then_some(index.buckets)
    }

    /// Each document to the bucket of its key.
    fn scatter(&self) -> Result<Vec<BucketSummary>> {
        let shards = &self.shuffle.shards;
        let width = self.id_type.width();
        let size_of = |shard: &UnshuffledShard| shard.tokens * width as u64 + shard.documents * HEADER_BYTES as u64;
        let size_bytes: u64 = shards.iter().map(size_of).sum();
        let num_buckets = size_bytes.div_ceil(self.shuffle.bucket_bytes.max(1)).clamp(1, MAX_BUCKETS) as usize;
        let buckets = Buckets::create(&self.shuffle.buckets, num_buckets, width, self.crash)?;
        let token_bytes = self.token_bytes();
        let first_numbers = starts(shards.iter().map(|shard| shard.documents));
        for_each_index(
            self.num_threads,
            shards.len(),
            || (),
            |(), index| {
                let mut number = first_numbers[index];
                for_each_document(&shards[index], &shards[..index], width, |ids, source| {
                    self.control.check()?;
                    let key = key(number, self.shuffle.seed);
                    number += 1;
                    // Without the EOS id, which is the last.
                    let text = &ids[..ids.len().saturating_sub(width)];
                    let text_bytes =
                        self.id_type.iter(text).map(|id| token_bytes.get(id as usize).copied().unwrap_or(0));
                    let header = Header { key, ids_bytes: ids.len() as u64, text_bytes: text_bytes.sum(), source };
                    buckets.push(header, ids)
                })?;
                self.control.advance(shards[index].tokens);
                Ok(())
            },
        )?;
        let buckets = buckets.finish()?;
        let index = BucketIndex { of: self.shuffle.content_hash(), seed: self.shuffle.seed, buckets };
        let content = serde_json::to_vec(&index).map_err(|error| Error::invalid(error.to_string()))?;
        self.crash.pass();
        write_file(&self.shuffle.index_path(), &content)?;
        Ok(index.buckets)
    }

    /// The length of each token, by its id.
    fn token_bytes(&self) -> Vec<u64> {
        let mut lengths = vec![0; self.tokenizer.vocab_size() as usize];
        for (id, token) in self.tokenizer.vocab() {
            lengths[id as usize] = token.len() as u64;
        }
        lengths
    }

    /// Each shard from the buckets that it reaches into. Where it begins follows from their lengths, so that shards may be
    /// made in any order.
    fn gather(&self, buckets: &[BucketSummary]) -> Result<()> {
        let shuffle = self.shuffle;
        let layout = ShardLayout {
            directory: shuffle.directory.clone(),
            task: 0,
            writer: shuffle.writer.clone(),
            id_type: self.id_type,
            tokens_per_shard: shuffle.tokens_per_shard,
            with_sources: shuffle.with_sources,
        };
        let journal_path = shuffle.directory.join("journal").join("shuffle.jsonl");
        let journal = Journal::open(&journal_path, shuffle.journal_bytes, self.crash)?;
        let starts = starts(buckets.iter().map(|bucket| bucket.tokens));
        let tokens = starts.last().copied().unwrap_or(0);
        let committed: HashSet<u64> = shuffle.committed.iter().copied().collect();
        let wanted: Vec<u64> =
            (0..tokens.div_ceil(shuffle.tokens_per_shard)).filter(|shard| !committed.contains(shard)).collect();
        for_each_index(
            self.num_threads,
            wanted.len(),
            || (),
            |(), index| self.gather_shard(wanted[index], buckets, &starts, &layout, &journal),
        )?;
        Ok(())
    }

    fn gather_shard(
        &self,
        shard: u64,
        buckets: &[BucketSummary],
        starts: &[u64],
        layout: &ShardLayout,
        journal: &Journal<'_>,
    ) -> Result<()> {
        let split = self.shuffle.split()?;
        let begin = shard * layout.tokens_per_shard;
        let mut writer = None;
        let first = starts.partition_point(|start| *start <= begin) - 1;
        for index in first..buckets.len() {
            let bucket = LoadedBucket::load(&self.shuffle.buckets, index, &buckets[index])?;
            let mut at = starts[index];
            let mut rank = buckets[..index].iter().map(|bucket| bucket.documents).sum::<u64>();
            for (header, ids) in bucket.documents() {
                let end = at + (ids.len() / layout.id_type.width()) as u64;
                if end > begin {
                    self.control.check()?;
                    let place = (0, rank);
                    let writer = writer.get_or_insert_with(|| {
                        let next = Position(0, rank, begin.saturating_sub(at));
                        let committed = Committed { shards: shard, next };
                        ShardWriter::new(layout, split, &committed, self.crash)
                    });
                    let entry = Entry { place, source: header.source, text_bytes: header.text_bytes };
                    if writer.fill(entry, ids, journal)? {
                        self.control.advance(layout.tokens_per_shard);
                        return Ok(());
                    }
                }
                (at, rank) = (end, rank + 1);
            }
        }
        writer.map_or(Ok(()), |mut writer| writer.finish(journal))
    }
}

/// Where each of some lengths begins, one after the other, and where the last ends.
fn starts(lengths: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut starts = vec![0];
    for length in lengths {
        starts.push(starts[starts.len() - 1] + length);
    }
    starts
}
