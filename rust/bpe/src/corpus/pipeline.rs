//! One thread that reads, many that work, and the results in order, in bounded memory.
//!
//! So the only thing that has to happen in sequence, decompressing a file, keeps all cores busy, and the result does
//! not depend on how many there are.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::reader::{Batch, Reader};
use super::source::Source;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::parallel::MAX_THREADS;

/// No more is read while batches of so many bytes are under way, be it one that is larger.
const MAX_BYTES_UNDER_WAY: usize = 64 << 20;
/// How many batches may be under way for each thread: some wait for their turn behind a slow one.
const BATCHES_PER_THREAD: usize = 4;
/// How often the control is looked at while nothing happens.
const POLL: Duration = Duration::from_millis(50);

/// Reads `sources` one after the other and calls `work` with each batch, on any of `num_threads` threads with a state
/// of its own, and then `consume` with the results, on this thread and in order. Both are told the index of the source.
///
/// The units of `control` are bytes of the files as they are on disk.
///
/// # Errors
/// The first in the order of the batches: of opening or reading a source, of `work` or of `consume`; or
/// [`Error::Interrupted`].
pub fn for_each_batch<S, R: Send>(
    sources: &[Source],
    max_record_bytes: u64,
    num_threads: usize,
    control: &Control,
    new_state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize, &Batch) -> Result<R> + Sync,
    mut consume: impl FnMut(usize, R) -> Result<()>,
) -> Result<()> {
    let mut consume = |index, file_bytes, result| -> Result<()> {
        control.check()?;
        consume(index, result)?;
        control.advance(file_bytes);
        Ok(())
    };
    let num_threads = num_threads.clamp(1, MAX_THREADS);
    if num_threads > 1 {
        let flow = Flow::new(num_threads * BATCHES_PER_THREAD);
        let has_run = thread::scope(|scope| {
            let _stop = StopAtEnd(&flow); // before the scope waits for its threads, whatever happens
            let work_off = || flow.work_off(&new_state, &work);
            // Where the system grants no threads the work still gets done, further down.
            let reader = thread::Builder::new().spawn_scoped(scope, || flow.read(sources, max_record_bytes)).ok()?;
            let num_workers =
                (0..num_threads).map_while(|_| thread::Builder::new().spawn_scoped(scope, work_off).ok()).count();
            if num_workers == 0 {
                flow.stop();
                let _ = reader.join();
                return None;
            }
            Some(flow.consume(control, &mut consume))
        });
        if let Some(result) = has_run {
            return result;
        }
    }
    let mut state = new_state();
    for (index, source) in sources.iter().enumerate() {
        let mut reader = Reader::open(source, max_record_bytes)?;
        while let Some(batch) = reader.next_batch()? {
            consume(index, batch.file_bytes, work(&mut state, index, &batch)?)?;
        }
    }
    Ok(())
}

/// What the threads share.
struct Flow<R> {
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
    fn new(max_batches: usize) -> Self {
        let under_way = UnderWay {
            read: VecDeque::new(),
            done: BTreeMap::new(),
            num_read: 0,
            num_consumed: 0,
            num_bytes: 0,
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

    fn stop(&self) {
        self.lock().is_stopped = true;
        self.has_changed.notify_all();
    }

    /// The reader's thread.
    fn read(&self, sources: &[Source], max_record_bytes: u64) {
        let _stop = StopOnPanic(self);
        for (index, source) in sources.iter().enumerate() {
            let result = Reader::open(source, max_record_bytes).and_then(|mut reader| {
                while let Some(batch) = reader.next_batch()? {
                    if !self.hand_over(index, batch) {
                        break;
                    }
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
    fn work_off<S>(&self, new_state: &impl Fn() -> S, work: &impl Fn(&mut S, usize, &Batch) -> Result<R>) {
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
            drop(batch);
            self.lock().done.insert(number, done);
            self.has_changed.notify_all();
        }
    }

    /// The caller's thread.
    fn consume(&self, control: &Control, consume: &mut impl FnMut(usize, u64, R) -> Result<()>) -> Result<()> {
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
struct StopAtEnd<'f, R: Send>(&'f Flow<R>);

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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::super::source::{Compression, Format};
    use super::*;

    /// Files of lines, several batches each, that are gone when the test is over.
    struct Files(Vec<PathBuf>);

    impl Files {
        fn new(name: &str, sizes: &[usize]) -> Self {
            let write = |(index, size): (usize, &usize)| {
                let path = std::env::temp_dir().join(format!("bpe-pipeline-{}-{name}-{index}", std::process::id()));
                let lines: Vec<String> = (0..*size).map(|line| format!("line {line} of file {index}\n")).collect();
                fs::write(&path, lines.concat()).unwrap();
                path
            };
            Self(sizes.iter().enumerate().map(write).collect())
        }

        fn sources(&self) -> Vec<Source> {
            let format = || Format::Text { separator: Some(b"\n".to_vec()) };
            self.0.iter().map(|path| Source::new(path, format(), Compression::None)).collect()
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            for path in &self.0 {
                let _ = fs::remove_file(path);
            }
        }
    }

    #[test]
    fn results_come_in_order_for_any_number_of_threads() {
        let files = Files::new("order", &[200_000, 0, 1, 100_000]);
        let expected: Vec<u8> = files.0.iter().flat_map(|path| fs::read(path).unwrap()).collect();
        for num_threads in [1, 2, 7] {
            let control = Control::new();
            let (mut read, mut last_source) = (Vec::new(), 0);
            let work = |calls: &mut u64, _: usize, batch: &Batch| {
                *calls += 1;
                std::thread::sleep(Duration::from_micros(*calls % 3 * 300)); // out of order
                Ok(batch.bytes.clone())
            };
            for_each_batch(
                &files.sources(),
                1 << 20,
                num_threads,
                &control,
                || 0,
                work,
                |source, bytes| {
                    assert!(source >= last_source);
                    last_source = source;
                    read.extend(bytes);
                    Ok(())
                },
            )
            .unwrap();
            assert!(read == expected);
            assert_eq!((last_source, control.progress().done), (3, expected.len() as u64));
        }
    }

    #[test]
    fn the_first_error_ends_it_after_what_comes_before() {
        let files = Files::new("error", &[100_000, 1]);
        let mut sources = files.sources();
        sources.insert(1, Source::new("/no/such/file", Format::Text { separator: None }, Compression::None));
        for num_threads in [1, 2, 7] {
            let mut num_bytes = 0;
            let error = for_each_batch(
                &sources,
                1 << 20,
                num_threads,
                &Control::new(),
                || (),
                |(), _, batch| Ok(batch.len),
                |_, length| {
                    num_bytes += length;
                    Ok(())
                },
            );
            assert!(error.unwrap_err().to_string().starts_with("/no/such/file"));
            assert_eq!(num_bytes, fs::metadata(&files.0[0]).unwrap().len());
            let refuse = |(): &mut (), _: usize, batch: &Batch| {
                if batch.offset > 0 { Err(Error::invalid("refused")) } else { Ok(()) }
            };
            let refused =
                for_each_batch(&sources, 1 << 20, num_threads, &Control::new(), || (), refuse, |_, ()| Ok(()));
            assert_eq!(refused.unwrap_err().to_string(), "refused");
            let consumed = for_each_batch(
                &sources,
                1 << 20,
                num_threads,
                &Control::new(),
                || (),
                |(), _, _| Ok(()),
                |_, ()| Err(Error::invalid("full")),
            );
            assert_eq!(consumed.unwrap_err().to_string(), "full");
        }
    }

    #[test]
    fn whoever_cancels_does_not_wait_long() {
        let files = Files::new("cancel", &[300_000]);
        for num_threads in [1, 3] {
            let control = Control::new();
            let result = for_each_batch(
                &files.sources(),
                1 << 20,
                num_threads,
                &control,
                || (),
                |(), _, _| Ok(()),
                |_, ()| {
                    control.cancel();
                    Ok(())
                },
            );
            assert!(matches!(result, Err(Error::Interrupted)));
        }
    }
}
