//! How a thread that watches talks to the threads that work: progress one way, cancellation the other.
//!
//! The core never calls back into its caller: a callback would have to take the caller's locks (Python's GIL) on the
//! worker threads. Instead the workers bump counters that anyone may read at any rate.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};

/// How far a long call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done: `"count"`, `"sum"`, `"merge"`, `"encode"`, `"corpus"` or `"shuffle"`; empty before the first stage.
    pub stage: &'static str,
    /// Units done: bytes for `count`, `encode` and `corpus`, merges for `merge`, pretokens for `sum`, ids for `shuffle`.
    pub done: u64,
    /// Units in all, 0 while unknown.
    pub total: u64,
    /// Ids made so far; only for `corpus`.
    pub tokens: u64,
    /// Records rejected so far; only for `corpus`.
    pub rejected: u64,
}

/// Shared by reference between the workers and whoever watches them.
#[derive(Debug, Default)]
pub struct Control {
    cancelled: AtomicBool,
    stage: Mutex<&'static str>,
    done: AtomicU64,
    total: AtomicU64,
    tokens: AtomicU64,
    rejected: AtomicU64,
}

impl Control {
    /// Nothing done, nothing cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to stop; it ends with [`Error::Interrupted`] within some milliseconds.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// A snapshot; the fields may be some microseconds apart.
    pub fn progress(&self) -> Progress {
        let stage = *self.stage.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let [done, total, tokens, rejected] =
            [&self.done, &self.total, &self.tokens, &self.rejected].map(|counter| counter.load(Ordering::Relaxed));
        Progress { stage, done, total, tokens, rejected }
    }

    pub(crate) fn begin(&self, stage: &'static str, total: u64) {
        *self.stage.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = stage;
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, units: u64) {
        self.done.fetch_add(units, Ordering::Relaxed);
    }

    pub(crate) fn produce(&self, tokens: u64, rejected: u64) {
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
        self.rejected.fetch_add(rejected, Ordering::Relaxed);
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }
}
