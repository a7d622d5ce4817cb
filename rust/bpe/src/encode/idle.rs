//! Caches that wait to be used again, warm.

use std::sync::{Arc, Mutex};

use super::Tokenizer;
use super::cache::Cache;

/// Caches that no thread uses at the moment, at most as many as there are places.
#[derive(Debug)]
pub(super) struct IdleCaches([Mutex<Option<Cache>>; 64]);

impl Default for IdleCaches {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(None)))
    }
}

/// A cache of the tokenizer, warm if one is at hand, for one thread at a time.
pub(crate) struct CacheGuard<'t> {
    idle: &'t IdleCaches,
    cache: Option<Cache>,
}

impl<'t> CacheGuard<'t> {
    pub(crate) fn new(tokenizer: &'t Tokenizer) -> Self {
        // `try_lock`: in a forked child a lock may be held by a thread that does not exist there.
        let idle = &tokenizer.idle;
        let warm = idle.0.iter().find_map(|place| place.try_lock().ok()?.take());
        let cache = if let Some(mut cache) = warm {
            cache.take_up();
            cache
        } else {
            let mut cache = Cache::of(Arc::clone(&tokenizer.shared));
            tokenizer.seeds.sow(&mut cache.near);
            cache
        };
        Self { idle, cache: Some(cache) }
    }

    pub(super) fn cache(&mut self) -> &mut Cache {
        self.cache.as_mut().expect("present until dropped")
    }
}

impl Drop for CacheGuard<'_> {
    fn drop(&mut self) {
        self.cache().put_away();
        for place in &self.idle.0 {
            if let Ok(mut place) = place.try_lock()
                && place.is_none()
            {
                *place = self.cache.take();
                return;
            }
        }
    }
}
