//! The only `unsafe` code of the crate, behind safe functions.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

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
