//! Files that appear under their name complete or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Writes beside the final name, as `.NAME.tmp.PID.NUMBER`; what is not committed is removed.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    destination: PathBuf,
    temporary: PathBuf,
    writer: Option<BufWriter<File>>,
}

/// Tells files apart that threads of one process write to the same name.
static NUM_CREATED: AtomicU64 = AtomicU64::new(0);

impl AtomicFile {
    const BUFFER_BYTES: usize = 1 << 18;

    pub(crate) fn create(destination: &Path) -> Result<Self> {
        let Some(name) = destination.file_name() else {
            return Err(Error::invalid(format!("{} does not name a file", destination.display())));
        };
        // The file that a link points to is replaced, and not the link; a device or a pipe cannot be.
        let destination = destination.canonicalize().unwrap_or_else(|_| destination.to_owned());
        if destination.exists() && !destination.is_file() {
            let kind = if destination.is_dir() { "a directory" } else { "a device or a pipe" };
            return Err(Error::invalid(format!("{} is {kind}, expected the name of a file", destination.display())));
        }
        let mut temporary_name = std::ffi::OsString::from(".");
        temporary_name.push(name);
        let number = NUM_CREATED.fetch_add(1, Ordering::Relaxed);
        temporary_name.push(format!(".tmp.{}.{number}", std::process::id()));
        let temporary = destination.with_file_name(temporary_name);
        let file = File::create(&temporary).map_err(Error::io(&destination))?;
        let writer = Some(BufWriter::with_capacity(Self::BUFFER_BYTES, file));
        Ok(Self { destination, temporary, writer })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer().write_all(bytes).map_err(Error::io(&self.destination))
    }

    /// Replaces the first bytes of the file.
    pub(crate) fn write_at_start(&mut self, bytes: &[u8]) -> Result<()> {
        let writer = self.writer();
        let written = writer.seek(SeekFrom::Start(0)).and_then(|_| writer.write_all(bytes));
        written.map_err(Error::io(&self.destination))
    }

    /// Puts the file, safely on disk, under its name.
    pub(crate) fn commit(mut self) -> Result<()> {
        let writer = self.writer.take().expect("present until committed or dropped");
        let committed = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.temporary, &self.destination))
            .and_then(|()| sync_directory(&self.destination));
        if committed.is_err() {
            let _ = fs::remove_file(&self.temporary); // the first error is the one to report
        }
        committed.map_err(Error::io(&self.destination))
    }

    fn writer(&mut self) -> &mut BufWriter<File> {
        self.writer.as_mut().expect("present until committed or dropped")
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            drop(writer.into_parts()); // without writing what is still buffered
            let _ = fs::remove_file(&self.temporary); // nobody is left to tell
        }
    }
}

/// Writes a whole file: under its name it is there completely, and on disk, or not at all.
///
/// # Errors
/// [`Error::Io`], and [`Error::InvalidArgument`] if the path names no file.
pub fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write(content)?;
    file.commit()
}

/// Makes a rename survive a power failure. Windows has no such call and needs none.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}
