//! A file in blocks, as far as it was used.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::time::SystemTime;

/// Read from the file at a time.
const BLOCK_BYTES: usize = 1 << 18;

/// A file read in blocks, of which it is known how much has been used.
pub(super) struct Input {
    file: File,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    /// Size and time of change of a regular file when it was opened.
    state: Option<(u64, SystemTime)>,
}

impl Input {
    /// Of a file that was opened and stands at `offset`.
    pub(super) fn new(file: File, offset: u64) -> Self {
        let state = state_of(&file);
        Self { file, buffer: vec![0; BLOCK_BYTES], start: 0, end: 0, offset, state }
    }

    /// How much of the file has been used, from its beginning.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether it is as it was when it was opened, as far as one can tell.
    pub(super) fn is_unchanged(&self) -> bool {
        self.state.is_none() || state_of(&self.file) == self.state
    }

    /// What is buffered, at least `num_bytes` unless the file ends before.
    pub(super) fn at_least(&mut self, num_bytes: usize) -> io::Result<&[u8]> {
        while self.end - self.start < num_bytes {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            match read_some(&mut self.file, &mut self.buffer[self.end..])? {
                0 => break,
                read => self.end += read,
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end && out.len() >= self.buffer.len() {
            let read = read_some(&mut self.file, out)?;
            self.offset += read as u64;
            return Ok(read);
        }
        let available = self.fill_buf()?;
        let read = available.len().min(out.len());
        out[..read].copy_from_slice(&available[..read]);
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.at_least(1)
    }

    fn consume(&mut self, num_bytes: usize) {
        self.start += num_bytes;
        self.offset += num_bytes as u64;
    }
}

fn state_of(file: &File) -> Option<(u64, SystemTime)> {
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some((metadata.len(), metadata.modified().ok()?))
}

fn read_some(file: &mut File, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
