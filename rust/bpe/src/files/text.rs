//! Text files, read in chunks by many threads at once.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use memmap2::Mmap;

use crate::control::Control;
use crate::error::{Error, Result};
use crate::raw;
use crate::split::cut::{Cutter, each_chunk};

/// "Is a directory", the same number on every Unix; Windows refuses to open a directory by itself.
const EISDIR: i32 = 21;

/// The chunks whose ends are looked for before the pages around them are let go. Where the system keeps a file in huge
/// pages, one look maps two megabytes, and the whole file counted as this process's memory.
const CHUNKS_HELD: usize = 16;

/// How long to wait for a pipe before the control is looked at.
const PATIENCE: Duration = Duration::from_millis(20);

/// A text file whose chunks are read at their places.
///
/// The file is mapped to find where it may be cut, which looks at a few bytes of each chunk; the chunks themselves are
/// copied. The copy costs a tenth of what is done with it, and keeps what another process does to the file meanwhile
/// from changing text that was already validated.
#[derive(Debug)]
pub(crate) struct TextFile<'p> {
    path: &'p Path,
    /// `None` of what can be read only once.
    file: Option<File>,
    metadata: Metadata,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    /// Of a pipe, a terminal or a file of /proc, whose length is not told; or of an empty file.
    Read(Vec<u8>),
}

impl<'p> TextFile<'p> {
    /// # Errors
    /// [`Error::Io`] if it is missing, unreadable or a directory; [`Error::Interrupted`] while a pipe is read.
    pub(crate) fn open(path: &'p Path, control: &Control) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(Error::io(path))?;
        if metadata.is_dir() {
            return Err(Error::io(path)(io::Error::from_raw_os_error(EISDIR)));
        }
        if !metadata.is_file() {
            let bytes = Bytes::Read(read_once(path, control)?);
            return Ok(Self { path, file: None, metadata, bytes });
        }
        let mut file = File::open(path).map_err(Error::io(path))?;
        let metadata = file.metadata().map_err(Error::io(path))?;
        let bytes = if metadata.len() > 0 {
            Bytes::Mapped(raw::map_file(&file).map_err(Error::io(path))?)
        } else {
            let mut read = Vec::new();
            file.read_to_end(&mut read).map_err(Error::io(path))?;
            Bytes::Read(read)
        };
        Ok(Self { path, file: Some(file), metadata, bytes })
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Read(read) => read,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Chunks of about `target` bytes, cut safely; together they are the file.
    pub(crate) fn chunks(&self, cutter: Cutter<'_>, target: usize) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        for range in each_chunk(cutter, self.bytes(), target) {
            ranges.push(range);
            if ranges.len().is_multiple_of(CHUNKS_HELD) {
                self.release();
            }
        }
        self.release();
        ranges
    }

    fn release(&self) {
        if let Bytes::Mapped(map) = &self.bytes {
            raw::release_pages(map);
        }
    }

    /// The text of a chunk, which is read into `buffer`.
    ///
    /// # Errors
    /// [`Error::Malformed`] with the offset in the file of the first byte that is not UTF-8, or if the file has become
    /// shorter; [`Error::Io`], [`Error::OutOfMemory`].
    pub(crate) fn read<'b>(&'b self, range: Range<usize>, buffer: &'b mut Vec<u8>) -> Result<&'b str> {
        let chunk = match (&self.bytes, &self.file) {
            (Bytes::Read(read), _) => &read[range.clone()],
            (Bytes::Mapped(map), None) => &map[range.clone()],
            (Bytes::Mapped(_), Some(file)) => {
                let missing = range.len().saturating_sub(buffer.len());
                buffer.try_reserve(missing).map_err(|_| Error::OutOfMemory(range.len()))?;
                buffer.resize(buffer.len() + missing, 0);
                let chunk = &mut buffer[..range.len()];
                read_at(file, range.start as u64, chunk).map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof => self.has_changed(),
                    _ => Error::io(self.path)(error),
                })?;
                &*chunk
            }
        };
        validated(self.path, chunk, range.start)
    }

    /// # Errors
    /// [`Error::Malformed`] if the file was written to since it was opened: what was read may be a mixture.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let now = file.metadata().map_err(Error::io(self.path))?;
        let is_unchanged = now.len() == self.metadata.len() && now.modified().ok() == self.metadata.modified().ok();
        if is_unchanged { Ok(()) } else { Err(self.has_changed()) }
    }

    fn has_changed(&self) -> Error {
        Error::malformed(
            self.path,
            format!(
                "changed while it was read ({} bytes at first); try again when nobody writes to it",
                self.metadata.len()
            ),
        )
    }
}

/// All of a pipe or a terminal. To open one and to read from it may wait for ever, so a thread of its own does it: if
/// the control is cancelled nobody waits for that, and it ends when the pipe does.
fn read_once(path: &Path, control: &Control) -> Result<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    let owned = path.to_owned();
    let read = move || {
        let _ = sender.send(fs::read(owned)); // where nobody waits any more
    };
    let Ok(reader) = thread::Builder::new().spawn(read) else {
        return fs::read(path).map_err(Error::io(path)); // the system grants no thread
    };
    loop {
        match receiver.recv_timeout(PATIENCE) {
            Err(RecvTimeoutError::Timeout) => control.check()?,
            Ok(read) => {
                let _ = reader.join(); // it has nothing left to do, and Python warns of a fork while it is there
                return read.map_err(Error::io(path));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::io(path)(io::Error::other("the thread that read it has ended")));
            }
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                offset += length as u64;
                buffer = &mut buffer[length..];
            }
        }
    }
    Ok(())
}

/// `chunk`, which stands at `offset` of a file, as text.
///
/// # Errors
/// [`Error::Malformed`] with the offset in the file of the first byte that is not UTF-8.
pub(crate) fn validated<'b>(path: &Path, chunk: &'b [u8], offset: usize) -> Result<&'b str> {
    if let Ok(text) = simdutf8::basic::from_utf8(chunk) {
        return Ok(text);
    }
    let valid = std::str::from_utf8(chunk).map_or_else(|error| error.valid_up_to(), str::len);
    let (offset, seen) = (offset + valid, chunk.get(valid).copied().unwrap_or_default());
    Err(Error::malformed(
        path,
        format!(
            "invalid UTF-8 at byte {offset} (0x{seen:02X}); expected UTF-8 text: convert the file, for example with \
             `iconv -f ENCODING -t UTF-8`, or remove what is not text"
        ),
    ))
}
