//! What the threads of a pipeline share: batches on their way from the reader to the workers, and results on theirs to
//! the consumer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::reader::{Batch, Reader};
use super::source::Source;
use crate::control::Control;
use crate::error::{Error, Result};

/// No more is read while batches of so many bytes are under way, be it one that is larger.
const MAX_BYTES_UNDER_WAY: usize = 64 << 20;
/// How often the control is looked at while nothing happens.
const POLL: Duration = Duration::from_millis(50);

/// What the threads share.
pub(super) struct Flow<R> {
    under_way: Mutex<UnderWay<R>>,
    has_changed: Condvar,
    max_batches: usize,
}

struct UnderWay<R> {
    /// Read and waiting for a worker: number, source, batch.
    read: VecDeque<(u64, usize, Batch)>,
    /// Waiting for their turn: source, what is to be given back, result.
    done: BTreeMap<u64, Done<R>>,
    num_read: u64,
    num_consumed: u64,
    num_bytes: usize,
    /// The memory of batches that were worked off, for the next ones.
    spare: Vec<Vec<u8>>,
    has_read_all: bool,
    is_stopped: bool,
}

struct Done<R> {
    source: usize,
    num_bytes: usize,
    file_bytes: u64,
    result: Result<R>,
}

impl<R: Send> Flow<R> {
    pub(super) fn new(max_batches: usize) -> Self {
        let under_way = UnderWay {
            read: VecDeque::new(),
            done: BTreeMap::new(),
            num_read: 0,
            num_consumed: 0,
            num_bytes: 0,
            spare: Vec::new(),
            has_read_all: false,
            is_stopped: false,
        };
        Self { under_way: Mutex::new(under_way), has_changed: Condvar::new(), max_batches }
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay<R>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, guard: MutexGuard<'g, UnderWay<R>>) -> MutexGuard<'g, UnderWay<R>> {
        self.has_changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop(&self) {
        self.lock().is_stopped = true;
        self.has_changed.notify_all();
    }

    /// The reader's thread.
    pub(super) fn read(&self, sources: &[Source], max_record_bytes: u64) {
        let _stop = StopOnPanic(self);
        for (index, source) in sources.iter().enumerate() {
            let result = Reader::open(source, max_record_bytes).and_then(|mut reader| {
                while let Some(batch) = reader.next_batch()? {
                    if !self.hand_over(index, batch) {
                        break;
                    }
                    reader.reuse(self.lock().spare.pop());
                }
                Ok(())
            });
            let mut under_way = self.lock();
            if let Err(error) = result {
                // Its turn comes after what was read before.
                let number = under_way.num_read;
                under_way.num_read += 1;
                let done = Done { source: index, num_bytes: 0, file_bytes: 0, result: Err(error) };
                under_way.done.insert(number, done);
                break;
            }
            if under_way.is_stopped {
                break;
            }
        }
        self.lock().has_read_all = true;
        self.has_changed.notify_all();
    }

    /// Gives a batch to the workers once there is room; false if nobody wants it any more.
    fn hand_over(&self, source: usize, batch: Batch) -> bool {
        let mut under_way = self.lock();
        while !under_way.is_stopped
            && (under_way.num_bytes >= MAX_BYTES_UNDER_WAY
                || under_way.num_read - under_way.num_consumed >= self.max_batches as u64)
        {
            under_way = self.wait(under_way);
        }
        let number = under_way.num_read;
        under_way.num_read += 1;
        under_way.num_bytes += batch.bytes.len();
        under_way.read.push_back((number, source, batch));
        self.has_changed.notify_all();
        !under_way.is_stopped
    }

    /// A worker's thread.
    pub(super) fn work_off<S>(&self, new_state: &impl Fn() -> S, work: &impl Fn(&mut S, usize, &Batch) -> Result<R>) {
        let _stop = StopOnPanic(self);
        let mut state = new_state();
        loop {
            let mut under_way = self.lock();
            let (number, source, batch) = loop {
                if under_way.is_stopped {
                    return;
                }
                if let Some(next) = under_way.read.pop_front() {
                    break next;
                }
                if under_way.has_read_all {
                    return;
                }
                under_way = self.wait(under_way);
            };
            drop(under_way);
            let result = work(&mut state, source, &batch);
            let done = Done { source, num_bytes: batch.bytes.len(), file_bytes: batch.file_bytes, result };
            let mut under_way = self.lock();
            under_way.spare.extend(batch.into_memory());
            under_way.done.insert(number, done);
            drop(under_way);
            self.has_changed.notify_all();
        }
    }

    /// The caller's thread.
    pub(super) fn consume(
        &self,
        control: &Control,
        consume: &mut impl FnMut(usize, u64, R) -> Result<()>,
    ) -> Result<()> {
        loop {
            let mut under_way = self.lock();
            let next = under_way.num_consumed;
            let Some(done) = under_way.done.remove(&next) else {
                if under_way.has_read_all && under_way.num_consumed == under_way.num_read {
                    return Ok(());
                }
                if under_way.is_stopped {
                    return Err(Error::Interrupted); // a thread has panicked, which the scope passes on
                }
                let waited = self.has_changed.wait_timeout(under_way, POLL);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
                control.check()?;
                continue;
            };
            drop(under_way);
            consume(done.source, done.file_bytes, done.result?)?;
            let mut under_way = self.lock();
            under_way.num_consumed += 1;
            under_way.num_bytes -= done.num_bytes;
            drop(under_way);
            self.has_changed.notify_all();
        }
    }
}

/// Lets all threads end when the consumer does, with or without an error.
pub(super) struct StopAtEnd<'f, R: Send>(pub(super) &'f Flow<R>);

impl<R: Send> Drop for StopAtEnd<'_, R> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Lets the others end when one thread panics, instead of waiting for it.
struct StopOnPanic<'f, R: Send>(&'f Flow<R>);

impl<R: Send> Drop for StopOnPanic<'_, R> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}
