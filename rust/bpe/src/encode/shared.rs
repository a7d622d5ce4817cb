//! One table for all threads, and how it grows.
//!
//! It does not change its size while others look at it: who finds it full makes a larger one, and the others come to that
//! when they next take stock. No thread waits for another one but an instant, and none for ever, so that a child that was
//! forked at any moment goes on by itself.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::key::Key;
use super::table::Table;

const NO_PROCESS: u32 = 0;

/// The newest table.
#[derive(Debug)]
pub(super) struct Shared<K, const PLACES: usize> {
    newest: Mutex<Arc<Table<K, PLACES>>>,
    /// The process in which a thread makes a new one, or [`NO_PROCESS`]. A forked child has that of its parent, but not the
    /// thread.
    renewed_by: AtomicU32,
    /// For a cache that is not in use, so that it keeps no table that all others have left.
    nothing: Arc<Table<K, PLACES>>,
}

impl<K: Key, const PLACES: usize> Shared<K, PLACES> {
    pub(super) fn new(table: Table<K, PLACES>) -> Self {
        Self {
            newest: Mutex::new(Arc::new(table)),
            renewed_by: AtomicU32::new(NO_PROCESS),
            nothing: Arc::new(Table::nothing()),
        }
    }

    /// A table of nothing.
    pub(super) fn nothing(&self) -> Arc<Table<K, PLACES>> {
        Arc::clone(&self.nothing)
    }

    /// The newest table. Others hold the lock for an instant; unless one of them is lost: in a forked child there is no
    /// other thread that could let go of it.
    pub(super) fn newest(&self) -> Arc<Table<K, PLACES>> {
        for _ in 0..1_000 {
            if let Ok(newest) = self.newest.try_lock() {
                return Arc::clone(&newest);
            }
            std::thread::yield_now();
        }
        Arc::new(Table::with_room(0))
    }

    /// Takes the newest table instead of a full one, which is made here unless another thread is at it.
    pub(super) fn renew(&self, full: &mut Arc<Table<K, PLACES>>) {
        let process = std::process::id();
        let is_busy = self.renewed_by.swap(process, Ordering::Acquire) == process;
        let newest = self.newest();
        if !Arc::ptr_eq(&newest, full) {
            *full = newest;
        } else if !is_busy && let Some(renewed) = full.renewed() {
            *full = Arc::new(renewed);
            if let Ok(mut newest) = self.newest.lock() {
                newest.clone_from(full);
            }
        }
        if !is_busy {
            self.renewed_by.store(NO_PROCESS, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_forked_while_a_thread_made_a_table_makes_one_itself() {
        let shared = Shared::<u128, 4>::new(Table::with_room(0));
        let mut table = shared.newest();
        for number in 1..100_000_u32 {
            let key = u128::from(number) | 4 << 120;
            table.learn(key.hash(), key, &[number]);
        }
        assert!(table.is_full());
        shared.renewed_by.store(std::process::id(), Ordering::Relaxed);
        shared.renew(&mut table);
        assert!(table.is_full()); // another thread is at it
        shared.renewed_by.store(std::process::id() + 1, Ordering::Relaxed);
        shared.renew(&mut table);
        assert!(!table.is_full() && Arc::ptr_eq(&table, &shared.newest()));
    }

    #[test]
    fn threads_that_find_a_table_full_come_to_one_that_is_not() {
        let shared = Shared::<u128, 4>::new(Table::with_room(0));
        let learn = |first: u32| {
            let mut table = shared.newest();
            for number in first..first + 100_000 {
                let key = u128::from(number) | 4 << 120;
                table.learn(key.hash(), key, &[number]);
                if table.is_full() {
                    shared.renew(&mut table);
                }
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || learn(50_000 * thread));
            }
        });
        let newest = shared.newest();
        let num_found = (0..250_000_u32).filter(|&number| {
            let key = u128::from(number) | 4 << 120;
            newest.find(key.hash(), key).inspect(|places| assert_eq!(*places, [number, 0, 0, 1])).is_some()
        });
        let num_found = num_found.count();
        assert!(num_found > 20_000, "{num_found}"); // others were put into a table that was being copied
        assert!(!newest.is_full());
    }
}
