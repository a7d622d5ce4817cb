//! Long calls: the work runs on a thread of its own while the calling thread lets Python handle signals and tells the
//! caller how far it is.

use std::num::NonZero;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use bpe::{Control, Progress};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::to_py;

/// The longest time between two looks, well under the second that Ctrl-C may take, and rare enough to cost nothing.
const POLL: Duration = Duration::from_millis(50);

/// The time before the first look; each later one comes after twice as long, up to [`POLL`]. So a call of a few
/// milliseconds is heard of, too.
const FIRST_POLL: Duration = Duration::from_millis(1);

/// Below this many bytes a call ends so soon that nobody needs to watch it.
pub(crate) const LONG_BYTES: usize = 1 << 20;

/// Below this many bytes (some microseconds) the GIL is kept: taking it back can cost a switch interval.
pub(crate) const TINY_BYTES: usize = 1 << 11;

/// Runs `work` without the GIL. Every [`POLL`] or sooner it calls `progress(stage, done, total)` and Python's signal handlers;
/// an exception from either cancels the work and is raised once that has stopped.
pub(crate) fn run_watched<T: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Control) -> bpe::Result<T> + Send,
) -> PyResult<T> {
    let report = |at: Progress| match progress {
        Some(progress) if !at.stage.is_empty() => progress.call1((at.stage, at.done, at.total)).map(drop),
        _ => Ok(()),
    };
    run_reporting(py, report, work)
}

/// As [`run_watched`], which calls this; `report` is told how far the work is.
pub(crate) fn run_reporting<T: Send>(
    py: Python<'_>,
    report: impl Fn(Progress) -> PyResult<()>,
    work: impl FnOnce(&Control) -> bpe::Result<T> + Send,
) -> PyResult<T> {
    let control = Control::new();
    let mut work = Some(work);
    let mut run = || (work.take().expect("the work runs once"))(&control);

    let watched = thread::scope(|scope| {
        let run = &mut run;
        let (alive, mut ended) = mpsc::channel::<()>();
        let worker = thread::Builder::new().spawn_scoped(scope, move || {
            let _alive = alive; // dropped at the end, even of a panic, which wakes the watcher
            run()
        });
        let worker = worker.ok()?;
        let mut failure = None;
        let mut poll = FIRST_POLL;
        loop {
            let ended = &mut ended;
            let wait = poll;
            poll = POLL.min(2 * wait);
            if py.detach(move || ended.recv_timeout(wait)) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
            if failure.is_none()
                && let Err(error) = py.check_signals().and_then(|()| report(control.progress()))
            {
                control.cancel();
                failure = Some(error);
            }
        }
        let result = py.detach(|| worker.join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Some(failure.map_or(Ok(result), Err))
    });

    // Where the system grants no thread (a limit on memory or processes) the work still gets done, unwatched.
    let result = match watched {
        Some(result) => result?,
        None => py.detach(run),
    };
    let value = result.map_err(|error| to_py(py, &error))?;
    report(control.progress())?;
    Ok(value)
}

/// As [`run_watched`] for work on `size_bytes` of text, with less ado where that is little.
pub(crate) fn run_sized<T: Send>(
    py: Python<'_>,
    size_bytes: usize,
    work: impl FnOnce(&Control) -> bpe::Result<T> + Send,
) -> PyResult<T> {
    if size_bytes >= LONG_BYTES {
        return run_watched(py, None, work);
    }
    let control = Control::new();
    let result = if size_bytes < TINY_BYTES { work(&control) } else { py.detach(|| work(&control)) };
    result.map_err(|error| to_py(py, &error))
}

/// The number of threads to use: all cores this process may run on, unless told otherwise. The core starts no more
/// than it has work for.
pub(crate) fn num_threads(asked: Option<i64>) -> PyResult<usize> {
    match asked {
        None => Ok(thread::available_parallelism().map_or(1, NonZero::get)),
        Some(asked) => usize::try_from(asked).ok().filter(|&asked| asked > 0).ok_or_else(|| {
            PyValueError::new_err(format!("num_threads must be at least 1 (or None for all cores), got {asked}"))
        }),
    }
}
