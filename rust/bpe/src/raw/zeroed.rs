//! Large arrays that begin as zeros.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, AtomicU64};

use memmap2::{MmapMut, MmapRaw};

/// The size of a huge page where there are any, and where they must begin.
pub(crate) const HUGE_PAGE: usize = 1 << 21;

/// Asks for huge pages behind the values of a large vector: to touch a page for the first time takes as long as to
/// encode some kilobytes, and there are 500 times fewer of them. Only a hint.
pub(crate) fn prefer_huge_pages<T>(values: &mut Vec<T>) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        let spare = values.spare_capacity_mut();
        let skipped = spare.as_ptr().cast::<u8>().align_offset(HUGE_PAGE);
        let size_bytes = size_of_val(spare).saturating_sub(skipped) / HUGE_PAGE * HUGE_PAGE;
        if size_bytes > 0 {
            // SAFETY: the range lies inside the vector's own allocation, and the advice changes nothing in it.
            unsafe { libc::madvise(spare.as_mut_ptr().byte_add(skipped).cast(), size_bytes, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = values;
}

/// Types for which zero bytes are a value.
///
/// # Safety
/// They must be.
pub(crate) unsafe trait AllZero {}

// SAFETY: 0.
unsafe impl AllZero for u32 {}
// SAFETY: 0.
unsafe impl AllZero for u64 {}
// SAFETY: 0.
unsafe impl AllZero for u128 {}
// SAFETY: that of 0.
unsafe impl AllZero for AtomicU32 {}
// SAFETY: that of 0.
unsafe impl AllZero for AtomicU64 {}
// SAFETY: the values of its elements.
unsafe impl<T: AllZero, const N: usize> AllZero for [T; N] {}
// SAFETY: the values of its parts; what is between them has none.
unsafe impl<A: AllZero, B: AllZero> AllZero for (A, B) {}
// SAFETY: the value of what is in it.
unsafe impl<T: AllZero> AllZero for CacheLines<T> {}

/// Begins with a line of the processor's cache.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct CacheLines<T>(pub(crate) T);

/// An array of zeros in memory that costs nothing before it is used, on huge pages where the system has them: a table
/// that is read all over has fewer pages than the processor's list of them.
pub(crate) struct Zeroed<T> {
    /// Longer by what it takes to begin at a huge page; `None` for an empty array. Of a `MmapMut` there would be a slice
    /// first, of bytes that nobody changes, and then values made of it that atomics may change.
    map: Option<MmapRaw>,
    start: usize,
    length: usize,
    values: PhantomData<T>,
}

impl<T: AllZero> Zeroed<T> {
    /// `None` if there is no memory for it. Whoever fills a quarter of a huge page gets one.
    pub(crate) fn new(length: usize) -> Option<Self> {
        const { assert!(align_of::<T>() <= 1 << 12, "that of a page") };
        let size_bytes = length.checked_mul(size_of::<T>())?.max(1);
        if size_bytes < HUGE_PAGE / 4 {
            return Some(Self {
                map: Some(MmapMut::map_anon(size_bytes).ok()?.into()),
                start: 0,
                length,
                values: PhantomData,
            });
        }
        // Whole huge pages behind where the array begins: the last of them would be small ones if it were cut short.
        let size_bytes = size_bytes.checked_next_multiple_of(HUGE_PAGE)?;
        let map = MmapRaw::from(MmapMut::map_anon(size_bytes.checked_add(HUGE_PAGE)?).ok()?);
        #[cfg(all(target_os = "linux", not(miri)))]
        let _ = map.advise(memmap2::Advice::HugePage); // where there are none, small ones serve
        let start = map.as_ptr().align_offset(HUGE_PAGE);
        (start < HUGE_PAGE).then_some(Self { map: Some(map), start, length, values: PhantomData })
    }
}

impl<T> Default for Zeroed<T> {
    fn default() -> Self {
        Self { map: None, start: 0, length: 0, values: PhantomData }
    }
}

impl<T> Deref for Zeroed<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        let Some(map) = &self.map else { return &[] };
        // SAFETY: the map is `length` values longer than `start`, where it is aligned; it began as zeros, which are
        // values of `T` (see `AllZero`), and only values of `T` have been written since. It lives as long as `self`.
        unsafe { std::slice::from_raw_parts(map.as_ptr().add(self.start).cast(), self.length) }
    }
}

impl<T> DerefMut for Zeroed<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        let Some(map) = &self.map else { return &mut [] };
        // SAFETY: as above, and whoever has the map borrowed it mutably with `self`.
        unsafe { std::slice::from_raw_parts_mut(map.as_mut_ptr().add(self.start).cast(), self.length) }
    }
}

impl<T> fmt::Debug for Zeroed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zeroed({} values)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_zeros_and_then_what_is_written() {
        for length in [2, 1_000, 100_000] {
            let mut array = Zeroed::<[u128; 2]>::new(length).unwrap();
            assert_eq!(array.len(), length);
            assert!(array.iter().all(|value| *value == [0, 0]));
            array[length - 1] = [1, 2];
            array[0] = [3, 4];
            assert_eq!((array[0], array[length - 1]), ([3, 4], [1, 2]));
            assert!(array[1..length - 1].iter().all(|value| *value == [0, 0]));
        }
    }

    #[test]
    fn is_empty_without_memory() {
        assert!(Zeroed::<u128>::new(usize::MAX / 2).is_none());
        assert!(Zeroed::<u128>::new(1 << 59).is_none());
        assert!(Zeroed::<u128>::default().is_empty());
        assert!(Zeroed::<u128>::new(0).unwrap().is_empty());
    }
}
