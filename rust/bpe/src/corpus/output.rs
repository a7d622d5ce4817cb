//! Files of a corpus directory: written beside their name, hashed as they are written, put under it when they are whole.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::files::atomic::sync_directory;
use crate::raw::start_writeback;

/// Written at a time.
const BUFFER_BYTES: usize = 1 << 20;
/// Sent on to disk at a time. A sync of a whole shard of 200 MB would hold everything up for as long as it takes.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// Ends the process at a step of the way to disk, as a crash would. For tests of what a crash leaves behind.
#[derive(Debug, Default)]
pub struct CrashPoint {
    steps_left: Option<AtomicU64>,
}

impl CrashPoint {
    /// At the step of this number, counted from 0.
    pub fn at(step: u64) -> Self {
        Self { steps_left: Some(AtomicU64::new(step)) }
    }

    /// Whether the next step is the one.
    fn is_next(&self) -> bool {
        self.steps_left.as_ref().is_some_and(|steps_left| steps_left.load(Ordering::Relaxed) == 0)
    }

    /// A step. Most are before one of the system calls that have to come in order.
    pub(super) fn pass(&self) {
        if let Some(steps_left) = &self.steps_left
            && steps_left.fetch_sub(1, Ordering::Relaxed) == 0
        {
            std::process::abort();
        }
    }
}

/// What stands on disk, checked by `verify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) size_bytes: u64,
    /// Hexadecimal.
    pub(super) blake3: String,
}

/// A file on its way; removed unless it is published.
#[derive(Debug)]
pub(super) struct Output<'c> {
    destination: PathBuf,
    temporary: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    header: Vec<u8>,
    buffer: Vec<u8>,
    size_bytes: u64,
    /// How many of them are on their way to disk.
    started_bytes: u64,
    crash: &'c CrashPoint,
}

impl<'c> Output<'c> {
    /// Writes to `.NAME.tmp.WRITER` for now. `header` is what the file will most likely begin with.
    pub(super) fn create(destination: &Path, writer: &str, header: &[u8], crash: &'c CrashPoint) -> Result<Self> {
        let name = destination.file_name().unwrap_or_default().to_string_lossy();
        let temporary = destination.with_file_name(format!(".{name}.tmp.{writer}"));
        crash.pass();
        let file = File::create(&temporary).map_err(Error::io(destination))?;
        let mut output = Self {
            destination: destination.to_owned(),
            temporary,
            file,
            hasher: blake3::Hasher::new(),
            header: header.to_vec(),
            buffer: Vec::with_capacity(BUFFER_BYTES + header.len()),
            size_bytes: 0,
            started_bytes: 0,
            crash,
        };
        output.push(header)?;
        Ok(output)
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<()> {
        if self.buffer.len() < BUFFER_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        self.crash.pass();
        self.hasher.update(&self.buffer);
        let written = self.file.write_all(&self.buffer);
        let size_bytes = self.buffer.len() as u64;
        written.map_err(Error::write(&self.destination, self.size_bytes + size_bytes))?;
        self.size_bytes += size_bytes;
        self.buffer.clear();
        if self.size_bytes - self.started_bytes >= WRITEBACK_BYTES {
            start_writeback(&self.file, self.started_bytes, self.size_bytes - self.started_bytes);
            self.started_bytes = self.size_bytes;
        }
        Ok(())
    }

    /// Writes the rest, with the header if it has become another one, safely to disk.
    pub(super) fn finish(&mut self, header: &[u8]) -> Result<Written> {
        self.flush()?;
        if header != self.header {
            self.crash.pass();
            self.replace_header(header).map_err(Error::write(&self.destination, header.len() as u64))?;
        }
        self.crash.pass();
        self.file.sync_all().map_err(Error::write(&self.destination, self.size_bytes))?;
        Ok(Written { size_bytes: self.size_bytes, blake3: self.hasher.finalize().to_hex().to_string() })
    }

    /// What was hashed began with another header: all is hashed again.
    fn replace_header(&mut self, header: &[u8]) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(header)?;
        self.hasher = hash(&mut File::open(&self.temporary)?)?;
        Ok(())
    }

    /// Puts the file under its name, which is returned. The directory is to be synced afterwards.
    pub(super) fn publish(mut self) -> Result<PathBuf> {
        self.crash.pass();
        fs::rename(&self.temporary, &self.destination).map_err(Error::io(&self.destination))?;
        self.temporary = PathBuf::new();
        Ok(self.destination.clone())
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if !self.temporary.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.temporary); // nobody is left to tell
        }
    }
}

fn hash(file: &mut File) -> std::io::Result<blake3::Hasher> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher),
            read => hasher.update(&buffer[..read]),
        };
    }
}

/// The size and the BLAKE3 hash, in hexadecimal, of a whole file.
///
/// # Errors
/// [`Error::Io`].
pub fn hash_file(path: &Path) -> Result<(u64, String)> {
    let hasher = File::open(path).and_then(|mut file| hash(&mut file)).map_err(Error::io(path))?;
    Ok((hasher.count(), hasher.finalize().to_hex().to_string()))
}

/// Appends lines to a file, from any thread, each with its own checksum and on disk before the next thing happens.
#[derive(Debug)]
pub(super) struct Journal<'c> {
    path: PathBuf,
    /// And the length of what is in it.
    file: Mutex<(File, u64)>,
    crash: &'c CrashPoint,
}

impl<'c> Journal<'c> {
    /// Goes on after the first `size_bytes` of the file; what follows them, the torn line of a crash, is cut off.
    pub(super) fn open(path: &Path, size_bytes: u64, crash: &'c CrashPoint) -> Result<Self> {
        crash.pass();
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(Error::io(path))?;
        let open =
            file.set_len(size_bytes).and_then(|()| file.seek(SeekFrom::End(0))).and_then(|_| sync_directory(path));
        open.map_err(Error::io(path))?;
        Ok(Self { path: path.to_owned(), file: Mutex::new((file, size_bytes)), crash })
    }

    pub(super) fn append(&self, line: &impl serde::Serialize) -> Result<()> {
        let line = checked_line(line)?;
        let mut guard = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, size_bytes) = &mut *guard;
        if self.crash.is_next() {
            let _ = file.write_all(&line[..line.len() / 2]); // a torn line
        }
        self.crash.pass();
        let written = file.write_all(&line).and_then(|()| {
            self.crash.pass();
            file.sync_all()
        });
        if written.is_err() {
            // The first error is the one to report.
            let _ = file.set_len(*size_bytes).and_then(|()| file.seek(SeekFrom::Start(*size_bytes)));
        }
        written.map_err(Error::write(&self.path, line.len() as u64))?;
        *size_bytes += line.len() as u64;
        Ok(())
    }
}

/// The line of a JSON object, with the checksum of what stands before that as its last key.
fn checked_line(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value).map_err(|error| Error::invalid(error.to_string()))?;
    line.pop(); // the closing brace
    let checksum = crc32fast::hash(&line);
    line.extend_from_slice(format!(",\"crc32\":\"{checksum:08x}\"}}\n").as_bytes());
    Ok(line)
}
