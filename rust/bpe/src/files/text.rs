//! Text files, mapped into memory.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};
use crate::raw;

/// "Is a directory", the same number on every Unix; Windows refuses to open a directory by itself.
const EISDIR: i32 = 21;

/// A file whose bytes are read where the page cache has them.
#[derive(Debug)]
pub(crate) struct TextFile {
    /// `None` for an empty file, which cannot be mapped.
    map: Option<Mmap>,
}

impl TextFile {
    /// # Errors
    /// [`Error::Io`] if it is missing, unreadable or a directory.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let metadata = file.metadata().map_err(Error::io(path))?;
        if metadata.is_dir() {
            return Err(Error::io(path)(std::io::Error::from_raw_os_error(EISDIR)));
        }
        let map = if metadata.len() == 0 { None } else { Some(raw::map_file(&file).map_err(Error::io(path))?) };
        Ok(Self { map })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// Maps the pages of a range at once, which takes less time than a page fault for each few of them. Only a hint.
    pub(crate) fn populate(&self, range: Range<usize>) {
        if let Some(map) = &self.map {
            raw::populate(map, range);
        }
    }

    /// Unmaps the pages of a range that has been read, so that they do not count as memory of this process; they stay
    /// in the page cache and are mapped again when they are read again. Only a hint.
    pub(crate) fn release(&self, range: Range<usize>) {
        if let Some(map) = &self.map {
            raw::release(map, range);
        }
    }
}

/// `bytes[range]` as text.
///
/// # Errors
/// [`Error::Malformed`] with the offset in the file of the first byte that is not UTF-8.
pub(crate) fn validated<'b>(path: &Path, bytes: &'b [u8], range: Range<usize>) -> Result<&'b str> {
    let chunk = &bytes[range.clone()];
    simdutf8::basic::from_utf8(chunk).map_err(|_| {
        let error = std::str::from_utf8(chunk).expect_err("it was not UTF-8 a moment ago");
        let offset = range.start + error.valid_up_to();
        let seen = chunk[error.valid_up_to()];
        Error::malformed(
            path,
            format!(
                "invalid UTF-8 at byte {offset} (0x{seen:02X}); expected UTF-8 text: convert the file, for example \
                 with `iconv -f ENCODING -t UTF-8`, or remove what is not text"
            ),
        )
    })
}
