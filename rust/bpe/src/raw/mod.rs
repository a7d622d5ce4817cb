//! The only `unsafe` code of the crate, behind safe functions.
#![allow(unsafe_code)]

pub(crate) mod classify;

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::Mmap;

/// Maps a whole file for reading.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn map_file(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is private and read-only, so that nothing this process does can change the bytes under a
    // reference. Another process that truncates the file makes a later read fault (SIGBUS: the process ends), which is
    // the agreement of every reader that maps its input; one that rewrites it in place can make bytes change after
    // they were validated, from which the crate computes a wrong answer but never an out-of-bounds access: text is
    // only indexed with checks, and no `str` from a map is sliced but at boundaries found in the same bytes.
    unsafe { Mmap::map(file) }
}

/// Asks for the cache line of `value`, so that a read some tens of instructions later need not wait. Only a hint.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a prefetch reads nothing that the program could observe.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value; // the stable intrinsics of other architectures have no prefetch
}

/// Maps the pages of a range of a file at once. Only a hint.
pub(crate) fn populate(map: &Mmap, range: Range<usize>) {
    #[cfg(target_os = "linux")]
    // Fails on kernels before 5.14, where the pages are mapped as they are read.
    let _ = map.advise_range(memmap2::Advice::PopulateRead, range.start, range.len());
    #[cfg(not(target_os = "linux"))]
    let _ = (map, range);
}

/// Unmaps the pages of a range of a file until they are read again. Only a hint.
pub(crate) fn release(map: &Mmap, range: Range<usize>) {
    #[cfg(unix)]
    // SAFETY: the map is of a file and never written to, so that a page that was given back holds the same bytes when
    // it is read again: those of the file. `map_file` says what holds if another process changes these.
    let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
    #[cfg(not(unix))]
    let _ = (map, range);
}
