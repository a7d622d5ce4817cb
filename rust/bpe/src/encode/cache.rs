//! What one thread needs while it encodes, and what it shares with others.
//!
//! In English, 16,000 words are 95 % of a text, and 100,000 the rest. A table of all of them is larger than the cache of
//! a core, and what is not there takes a hundred nanoseconds to come. So the words that come often stand in a small
//! table, too, which is looked at first, and which each thread has for itself. One table whose lines are asked for 256
//! pretokens ahead took 15 % longer.

use std::sync::Arc;

use super::near::NearTable;
use super::shared::Shared;
use super::table::Table;
use super::waiting::Waiting;

/// The ids of pretokens of up to 15 bytes.
pub(super) type ShortTable = Table<u128, 4>;
/// The ids of those of 16 to 31 bytes.
pub(super) type LongTable = Table<[u128; 2], 8>;

/// The bound on the memory of what one thread remembers, in bytes.
pub const CACHE_BYTES: usize = NearTable::BYTES + Waiting::MAX_BYTES + MAX_SCRATCH * size_of::<u32>();
/// The bound on the memory of what all threads of a tokenizer remember, in bytes; while a table is made anew there are
/// two of it.
pub const SHARED_CACHE_BYTES: usize = ShortTable::MAX_BYTES + LongTable::MAX_BYTES;

/// The ids of a short text that are kept room for.
pub(super) const MAX_SCRATCH: usize = 1 << 16;

/// What all threads have merged.
#[derive(Debug)]
pub(super) struct SharedTables {
    short: Shared<u128, 4>,
    long: Shared<[u128; 2], 8>,
}

impl SharedTables {
    pub(super) fn new(short: ShortTable) -> Self {
        Self { short: Shared::new(short), long: Shared::new(Table::with_room(0)) }
    }

    /// Whether anything was merged.
    pub(super) fn have_learnt(&self) -> bool {
        self.short.newest().has_learnt() || self.long.newest().has_learnt()
    }
}

impl Default for SharedTables {
    fn default() -> Self {
        Self::new(Table::with_room(0))
    }
}

/// The ids of pretokens of up to 31 bytes.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(super) near: NearTable,
    pub(super) short: Arc<ShortTable>,
    pub(super) long: Arc<LongTable>,
    shared: Arc<SharedTables>,
    pub(super) waiting: Box<Waiting>,
    /// Where the ids of short texts are put together.
    pub(super) scratch: Vec<u32>,
}

impl Cache {
    /// Of a thread that shares nothing.
    pub(crate) fn new() -> Self {
        Self::of(Arc::default())
    }

    pub(super) fn of(shared: Arc<SharedTables>) -> Self {
        Self {
            near: NearTable::new(),
            short: shared.short.newest(),
            long: shared.long.newest(),
            shared,
            waiting: Box::default(),
            scratch: Vec::new(),
        }
    }

    /// To be called before it is used again after it was put away.
    pub(super) fn take_up(&mut self) {
        self.short = self.shared.short.newest();
        self.long = self.shared.long.newest();
    }

    /// Puts it away: it keeps no tables alive that others have left.
    pub(super) fn put_away(&mut self) {
        self.short = self.shared.short.nothing();
        self.long = self.shared.long.nothing();
    }

    /// To be called now and then, when nothing that was found is needed any more.
    #[inline]
    pub(super) fn make_room(&mut self) {
        if self.short.is_full() {
            self.shared.short.renew(&mut self.short);
        }
        if self.long.is_full() {
            self.shared.long.renew(&mut self.long);
        }
    }
}
