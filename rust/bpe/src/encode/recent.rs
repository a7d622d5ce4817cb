//! Pretokens of more than 31 bytes that were met lately.
//!
//! The tables of all threads end there, and in code such pretokens are met again and again: deep indentations, lines of
//! one character. In 20 MB of it there are 2,800, some 500 of them distinct, and each took as long to encode as some
//! thousand bytes of other text. As there are so few, a lock is enough here; who finds it taken does without.

use std::hash::Hasher;
use std::sync::{Mutex, MutexGuard};

use rustc_hash::FxHasher;

use crate::error::Result;
use crate::memory::{append, resize};

/// The longest, in bytes: it bounds the memory. What is longer is seldom met again.
pub(super) const MAX_LEN: usize = 128;
/// A power of two.
const NUM_PLACES: usize = 1 << 10;

/// Each pretoken has one place, where it drives out what was met before it.
#[derive(Debug, Default)]
pub(super) struct RecentPretokens(Mutex<Vec<Place>>);

#[derive(Clone, Debug, Default)]
struct Place {
    pretoken: Vec<u8>,
    ids: Vec<u32>,
}

impl RecentPretokens {
    /// Appends the ids of a pretoken if they are known; otherwise those that `encode` appends, to be known from then on.
    ///
    /// # Errors
    /// Those of `encode`, and [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub(super) fn find_or_encode(
        &self,
        pretoken: &[u8],
        out: &mut Vec<u32>,
        encode: impl FnOnce(&mut Vec<u32>) -> Result<()>,
    ) -> Result<()> {
        if pretoken.len() > MAX_LEN {
            return encode(out);
        }
        let index = index_of(pretoken);
        if let Some(places) = self.places()
            && let Some(place) = places.get(index).filter(|place| place.pretoken == pretoken)
        {
            return append(out, &place.ids);
        }
        let first = out.len();
        encode(out)?;
        if let Some(mut places) = self.places() {
            // Where there is no memory for it, it is not remembered.
            let _ = remember(&mut places, index, pretoken, &out[first..]);
        }
        Ok(())
    }

    /// `try_lock`: in a forked child the lock may be held by a thread that does not exist there.
    fn places(&self) -> Option<MutexGuard<'_, Vec<Place>>> {
        self.0.try_lock().ok()
    }
}

fn remember(places: &mut Vec<Place>, index: usize, pretoken: &[u8], ids: &[u32]) -> Result<()> {
    resize(places, NUM_PLACES, Place::default())?;
    let place = &mut places[index];
    // A pretoken without its ids is not to be left there.
    place.pretoken.clear();
    place.ids.clear();
    append(&mut place.ids, ids)?;
    append(&mut place.pretoken, pretoken)
}

fn index_of(pretoken: &[u8]) -> usize {
    let mut hasher = FxHasher::default();
    hasher.write(pretoken);
    hasher.finish() as usize % NUM_PLACES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    /// The ids of a pretoken, and whether they had to be made.
    fn looked_up(recent: &RecentPretokens, pretoken: &[u8]) -> (Vec<u32>, bool) {
        let (mut out, mut is_new) = (vec![7], false);
        let encode = |out: &mut Vec<u32>| {
            is_new = true;
            append(out, &[pretoken.len() as u32, pretoken[0].into()])
        };
        recent.find_or_encode(pretoken, &mut out, encode).unwrap();
        assert_eq!(out.remove(0), 7);
        (out, is_new)
    }

    #[test]
    fn what_is_met_again_is_not_encoded_again() {
        let recent = RecentPretokens::default();
        let pretokens: Vec<Vec<u8>> = (0..50).map(|number| vec![number; 32 + usize::from(number)]).collect();
        let mut num_known = 0;
        for round in 0..2 {
            for pretoken in &pretokens {
                let (ids, is_new) = looked_up(&recent, pretoken);
                assert_eq!(ids, [pretoken.len() as u32, pretoken[0].into()]);
                num_known += usize::from(!is_new);
                assert!(round > 0 || is_new);
            }
        }
        assert!(num_known >= 40, "{num_known}"); // some drive out others
    }

    #[test]
    fn what_drives_out_another_is_not_taken_for_it() {
        let recent = RecentPretokens::default();
        for number in (0..4 * NUM_PLACES).chain(0..NUM_PLACES) {
            let pretoken = [b"0123456789012345678901234567890123456789", &number.to_le_bytes()[..]].concat();
            let mut out = Vec::new();
            recent.find_or_encode(&pretoken, &mut out, |out| append(out, &[number as u32])).unwrap();
            assert_eq!(out, [number as u32]);
        }
    }

    #[test]
    fn neither_a_failure_nor_what_is_too_long_is_remembered() {
        let recent = RecentPretokens::default();
        let failed = recent.find_or_encode(&[1; 40], &mut Vec::new(), |_| Err(Error::Interrupted));
        assert!(matches!(failed, Err(Error::Interrupted)));
        assert_eq!(looked_up(&recent, &[1; 40]), (vec![40, 1], true));
        assert_eq!(looked_up(&recent, &[1; 40]), (vec![40, 1], false));
        assert!(looked_up(&recent, &[1; MAX_LEN + 1]).1 && looked_up(&recent, &[1; MAX_LEN + 1]).1);
    }

    #[test]
    fn who_finds_it_in_use_does_without() {
        let recent = RecentPretokens::default();
        looked_up(&recent, &[1; 40]);
        let in_use = recent.places();
        assert!(looked_up(&recent, &[1; 40]).1);
        drop(in_use);
        assert!(!looked_up(&recent, &[1; 40]).1);
    }
}
