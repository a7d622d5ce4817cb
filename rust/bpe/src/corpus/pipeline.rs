//! One thread that reads, many that work, and the results in order, in bounded memory.
//!
//! So the only thing that has to happen in sequence, decompressing a file, keeps all cores busy, and the result does
//! not depend on how many there are.

use std::thread;

use super::flow::{Flow, StopAtEnd};
use super::reader::{Batch, Reader};
use super::source::Source;
use crate::control::Control;
use crate::error::Result;
use crate::parallel::MAX_THREADS;

/// How many batches may be under way for each thread: some wait for their turn behind a slow one.
const BATCHES_PER_THREAD: usize = 4;

/// Reads `sources` one after the other and calls `work` with each batch, on any of `num_threads` threads with a state
/// of its own, and then `consume` with the results, on this thread and in order. Both are told the index of the source.
///
/// The units of `control` are bytes of the files as they are on disk.
///
/// # Errors
/// The first in the order of the batches: of opening or reading a source, of `work` or of `consume`; or
/// [`Error::Interrupted`](crate::Error::Interrupted).
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
            reader.reuse(batch.into_memory());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::super::source::{Compression, Format};
    use super::*;
    use crate::error::Error;

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
