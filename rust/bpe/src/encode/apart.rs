//! Ids of pretokens that come to many, put down once and for all.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::raw::zeroed::{CacheLines, Zeroed};

/// Ids that many threads read and add to at the same time. They are to be read by whoever has learnt, in a way that
/// orders memory, of where they stand.
#[derive(Debug)]
pub(super) struct Apart {
    ids: Zeroed<AtomicU32>,
    num_ids: CacheLines<AtomicUsize>,
}

/// Which of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    pub(super) start: u32,
    pub(super) length: u32,
}

impl Ids {
    /// Which are the ids of an entry with these places, if they stand apart.
    #[inline]
    pub(super) fn of<const PLACES: usize>(places: &[u32; PLACES]) -> Option<Self> {
        let length = places[PLACES - 1];
        (length as usize >= PLACES).then_some(Self { start: places[0], length })
    }
}

impl Apart {
    /// With room for so many ids, which takes memory when they come.
    pub(super) fn new(max_ids: usize) -> Self {
        Self { ids: Zeroed::new(max_ids).unwrap_or_default(), num_ids: CacheLines(AtomicUsize::new(0)) }
    }

    /// Whether there was room, and is no more: to make a table anew does not help where there was no memory for any.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.num_ids.0.load(Ordering::Relaxed) > self.ids.len() && !self.ids.is_empty()
    }

    /// The places of an entry: the number of ids in the last; before it the ids or, if they are too many, where they
    /// have been put. `None` if there was no room.
    pub(super) fn places<const PLACES: usize>(&self, ids: impl ExactSizeIterator<Item = u32>) -> Option<[u32; PLACES]> {
        let mut places = [0; PLACES];
        places[PLACES - 1] = ids.len() as u32;
        if ids.len() < PLACES {
            places.iter_mut().zip(ids).for_each(|(place, id)| *place = id);
        } else {
            let start = self.num_ids.0.fetch_add(ids.len(), Ordering::Relaxed);
            let room = self.ids.get(start..start + ids.len())?;
            room.iter().zip(ids).for_each(|(place, id)| place.store(id, Ordering::Relaxed));
            places[0] = start as u32;
        }
        Some(places)
    }

    /// Asks for some ids, or for the first of them.
    #[inline]
    pub(super) fn prefetch(&self, range: Ids) {
        if let Some(id) = self.ids.get(range.start as usize) {
            crate::raw::prefetch(id);
        }
    }

    #[inline]
    pub(super) fn ids(&self, Ids { start, length }: Ids) -> impl ExactSizeIterator<Item = u32> {
        self.ids[start as usize..][..length as usize].iter().map(|id| id.load(Ordering::Relaxed))
    }
}
