//! Dividing independent work among threads, with the results in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::error::Result;
use crate::memory;

/// The greatest number of threads that is ever started, whatever is asked for.
pub(crate) const MAX_THREADS: usize = 1 << 10;

/// The stack of a thread and what it needs to begin with.
const THREAD_BYTES: usize = 3 << 20;

/// A rayon pool whose threads have ended when it is dropped. By itself rayon lets them end whenever they may, and
/// Python warns of a fork while any is left.
struct Pool {
    pool: Option<rayon::ThreadPool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// `None` where the system grants no threads, or hardly any memory: C's library ends a process that has none for a
    /// thread that has begun.
    fn start(num_threads: usize) -> Option<Self> {
        memory::expect_room(num_threads * THREAD_BYTES).ok()?;
        let mut threads = Vec::new();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(num_threads)
            .spawn_handler(|thread| {
                threads.push(std::thread::Builder::new().spawn(|| thread.run())?);
                Ok(())
            })
            .build()
            .ok();
        // Dropped without a pool, it waits for the threads that were granted: they end with the pool's builder.
        let is_complete = pool.is_some();
        let pool = Self { pool, threads };
        is_complete.then_some(pool)
    }

    /// The result of `work` on each thread. It begins when all threads have begun, for which they need memory that no
    /// error tells of: the first of them must not have taken it for its work.
    fn broadcast<R: Send>(&self, work: impl Fn() -> R + Sync) -> Vec<R> {
        let all_have_begun = Barrier::new(self.threads.len());
        self.pool.as_ref().expect("a pool that was started").broadcast(|_| {
            all_have_begun.wait();
            work()
        })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.pool.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a panic has reached the caller through `broadcast`
        }
    }
}

/// Runs `work(&mut state, index)` for every index below `num_items` and returns the states.
///
/// Each of at most `num_threads` workers makes one state and takes the next index when it is free. With one thread, or
/// where no pool can be started, everything runs on the calling thread. A pool lives for one call only: threads kept
/// for later would be missing in a forked child, which would wait for them for ever.
///
/// # Errors
/// That of the smallest failing index, whatever the timing. No index beyond it is started once it has failed.
pub(crate) fn for_each_index<S: Send>(
    num_threads: usize,
    num_items: usize,
    new_state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<()> + Sync,
) -> Result<Vec<S>> {
    let num_workers = num_threads.min(MAX_THREADS).min(num_items);
    let Some(pool) = (num_workers > 1).then(|| Pool::start(num_workers)).flatten() else {
        let mut state = new_state();
        (0..num_items).try_for_each(|index| work(&mut state, index))?;
        return Ok(vec![state]);
    };

    let next = AtomicUsize::new(0);
    let first_failure = Mutex::new(None);
    let states = pool.broadcast(|| {
        let mut state = new_state();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= num_items {
                return state;
            }
            if let Err(error) = work(&mut state, index) {
                // Indices are handed out in order: whoever works on a smaller one will still report it.
                next.store(num_items, Ordering::Relaxed);
                let mut first = first_failure.lock().expect("no panic while it is held");
                if first.as_ref().is_none_or(|(other, _)| index < *other) {
                    *first = Some((index, error));
                }
                return state;
            }
        }
    });
    match first_failure.into_inner().expect("no panic while it was held") {
        Some((_, error)) => Err(error),
        None => Ok(states),
    }
}

/// `work(index)` for every index below `num_items`, the results in the order of the indices.
///
/// # Errors
/// As [`for_each_index`].
pub(crate) fn map<T: Send, S: Send>(
    num_threads: usize,
    num_items: usize,
    new_state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let new_results = || (new_state(), Vec::new());
    let states = for_each_index(num_threads, num_items, new_results, |(state, results), index| {
        memory::push(results, (index, work(state, index)?))
    })?;
    let mut results: Vec<(usize, T)> = memory::with_capacity(num_items)?;
    for (_, found) in states {
        results.extend(found);
    }
    results.sort_unstable_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// How many results, for each thread, may wait for the one whose turn it is.
const MAX_EARLY: usize = 4;

/// What has been made out of turn, and whose turn it is.
struct Turns<T, C> {
    consume: C,
    next: usize,
    early: BTreeMap<usize, T>,
    /// What has been consumed, to be made anew.
    used: Vec<T>,
    /// Something went wrong: nobody's turn comes any more.
    is_over: bool,
}

/// Ends all waiting unless the work it stands for has been done: it failed or panicked.
struct EndUnlessDone<'a, T, C> {
    turns: &'a Mutex<Turns<T, C>>,
    turn: &'a Condvar,
    is_done: bool,
}

impl<T, C> Drop for EndUnlessDone<'_, T, C> {
    fn drop(&mut self) {
        if !self.is_done {
            locked(self.turns).is_over = true;
            self.turn.notify_all();
        }
    }
}

/// The value even if a thread has panicked while it held it: that panic is on its way to the caller.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `consume` with what `work` makes of every index below `num_items`, in the order of the indices, on whichever
/// thread has made the one whose turn it is. There is no waiting for all to be done, and only a few results are held at
/// a time. What has been consumed is given to `work` again, to be made anew.
///
/// # Errors
/// As [`for_each_index`]; one of `consume` counts as that of the index that was made last.
pub(crate) fn for_each_in_order<T: Send + Default, S: Send>(
    num_threads: usize,
    num_items: usize,
    new_state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize, &mut T) -> Result<()> + Sync,
    consume: impl FnMut(&mut T) -> Result<()> + Send,
) -> Result<()> {
    let turns = Mutex::new(Turns { consume, next: 0, early: BTreeMap::new(), used: Vec::new(), is_over: false });
    let turn = Condvar::new();
    let max_early = MAX_EARLY * num_threads.clamp(1, MAX_THREADS);
    for_each_index(num_threads, num_items, new_state, |state, index| {
        let mut end_unless_done = EndUnlessDone { turns: &turns, turn: &turn, is_done: false };
        let mut result = {
            let mut turns = locked(&turns);
            while index >= turns.next + max_early && !turns.is_over {
                turns = turn.wait(turns).unwrap_or_else(PoisonError::into_inner);
            }
            turns.used.pop().unwrap_or_default()
        };
        work(state, index, &mut result)?;
        let mut turns = locked(&turns);
        turns.early.insert(index, result);
        let Turns { consume, next, early, used, .. } = &mut *turns;
        while let Some(mut result) = early.remove(next) {
            if let Err(error) = consume(&mut result) {
                drop(turns); // what ends the others' waiting needs it
                return Err(error);
            }
            *next += 1;
            used.push(result);
        }
        turn.notify_all();
        end_unless_done.is_done = true;
        Ok(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn results_come_in_order() {
        for num_threads in [1, 2, 5] {
            let squares = map(num_threads, 100, || (), |(), index| Ok(index * index)).unwrap();
            assert_eq!(squares, (0..100).map(|index| index * index).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_made_out_of_turn_is_consumed_in_order() {
        for num_threads in [1, 2, 5] {
            let mut consumed = Vec::new();
            let work = |(): &mut (), index: usize, made: &mut Vec<usize>| {
                if index.is_multiple_of(16) {
                    std::thread::sleep(std::time::Duration::from_millis(2)); // the others run ahead
                }
                made.clear();
                made.push(index);
                Ok(())
            };
            for_each_in_order(
                num_threads,
                200,
                || (),
                work,
                |made| {
                    consumed.extend_from_slice(made);
                    Ok(())
                },
            )
            .unwrap();
            assert_eq!(consumed, (0..200).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_failure_ends_all_waiting() {
        for num_threads in [1, 2, 5] {
            let fails_at = |failing: usize, index: usize| {
                if index == failing {
                    std::thread::sleep(std::time::Duration::from_millis(5)); // the others wait for its turn
                    return Err(Error::invalid(index.to_string()));
                }
                Ok(())
            };
            let work = |(): &mut (), index: usize, made: &mut usize| {
                *made = index;
                fails_at(40, index)
            };
            let error = for_each_in_order(num_threads, 1000, || (), work, |_| Ok(())).unwrap_err();
            assert_eq!(error.to_string(), "40");
            let work = |(): &mut (), index: usize, made: &mut usize| {
                *made = index;
                Ok(())
            };
            let error = for_each_in_order(num_threads, 1000, || (), work, |made| fails_at(7, *made)).unwrap_err();
            assert_eq!(error.to_string(), "7");
        }
    }

    #[test]
    fn the_first_failure_is_reported() {
        for num_threads in [1, 2, 5] {
            let work = |(): &mut (), index: usize| -> Result<()> {
                if index == 40 {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                if index >= 40 { Err(Error::invalid(index.to_string())) } else { Ok(()) }
            };
            let error = for_each_index(num_threads, 100, || (), work).unwrap_err();
            assert_eq!(error.to_string(), "40");
        }
    }
}
