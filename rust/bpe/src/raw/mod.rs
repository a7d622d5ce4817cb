//! The only `unsafe` code of the crate, behind safe functions.
#![allow(unsafe_code)]

pub(crate) mod append;
pub(crate) mod simd;
pub(crate) mod zeroed;

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps a whole file for reading.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn map_file(file: &File) -> io::Result<Mmap> {
    // SAFETY: a mapped file changes when anyone writes to it, this process included. The bytes are looked at only to
    // find places to cut, one by one and with every index checked, and no `str` is made of them: whatever they change
    // to, the places are inside the file's length at the time. If the file is cut short at that very moment the read
    // faults (SIGBUS: the process ends), which no reader of maps can exclude.
    unsafe { Mmap::map(file) }
}

/// Lets go of the pages of a map that have been read. They stay in the system's cache. Only a hint.
pub(crate) fn release_pages(map: &Mmap) {
    #[cfg(unix)]
    // SAFETY: the map is shared and only read, so nothing is lost: whatever is read again comes from the file again.
    // (What such advice takes back are the changes of a private map.)
    unsafe {
        let _ = map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed);
    }
    #[cfg(not(unix))]
    let _ = map;
}

/// Asks for these bytes of a file to be written to disk soon, so that a sync later finds little left to do. Only a hint.
pub(crate) fn start_writeback(file: &File, start: u64, length: u64) {
    #[cfg(target_os = "linux")]
    // SAFETY: the descriptor is open as long as `file` is borrowed, and the call touches no memory of the process.
    unsafe {
        use std::os::fd::AsRawFd;
        libc::sync_file_range(file.as_raw_fd(), start.cast_signed(), length.cast_signed(), libc::SYNC_FILE_RANGE_WRITE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, start, length);
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

/// The sixteen bytes of `text` from `start` on, if there are as many. Of a slice of that range the compiler keeps four
/// comparisons, where one is enough.
#[inline]
pub(crate) fn sixteen_at(text: &[u8], start: usize) -> Option<[u8; 16]> {
    if text.len() < 16 || start > text.len() - 16 {
        return None;
    }
    // SAFETY: sixteen bytes from `start` on lie within `text`, and a load of bytes needs no alignment.
    Some(unsafe { text.as_ptr().add(start).cast::<[u8; 16]>().read_unaligned() })
}
