//! One-dimensional integer arrays in numpy's `.npy` format, version 1.0.

use super::atomic::AtomicFile;
use crate::error::Result;

/// The header has one size whatever the length of the array, which is known only at the end.
const HEADER_BYTES: usize = 128;
const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

/// What an array file begins with: the type of the elements (`<u2`) and the shape as Python writes it (`(3,)`).
pub(crate) fn header(descr: &str, shape: &str) -> [u8; HEADER_BYTES] {
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let mut header = MAGIC.to_vec();
    header.extend((HEADER_BYTES as u16 - 10).to_le_bytes());
    header.extend(dict.bytes());
    header.resize(HEADER_BYTES - 1, b' ');
    header.push(b'\n');
    header.try_into().expect("resized to it")
}

/// Appends ids to an array file as `uint16` or `uint32`, little-endian.
#[derive(Debug)]
pub(crate) struct NpyWriter {
    file: AtomicFile,
    is_narrow: bool,
    num_written: u64,
    buffer: Vec<u8>,
}

impl NpyWriter {
    /// Every id to be written must fit into 16 bits if `is_narrow`.
    pub(crate) fn create(mut file: AtomicFile, is_narrow: bool) -> Result<Self> {
        file.write(&[0; HEADER_BYTES])?;
        Ok(Self { file, is_narrow, num_written: 0, buffer: Vec::new() })
    }

    pub(crate) fn write(&mut self, ids: &[u32]) -> Result<()> {
        for part in ids.chunks(1 << 14) {
            self.buffer.clear();
            if self.is_narrow {
                let narrow = |id: &u32| u16::try_from(*id).expect("a vocabulary of at most 65,536 ids").to_le_bytes();
                self.buffer.extend(part.iter().flat_map(narrow));
            } else {
                self.buffer.extend(part.iter().flat_map(|id| id.to_le_bytes()));
            }
            self.file.write(&self.buffer)?;
        }
        self.num_written += ids.len() as u64;
        Ok(())
    }

    /// Writes the header and puts the file under its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        let descr = if self.is_narrow { "<u2" } else { "<u4" };
        let header = header(descr, &format!("({},)", self.num_written));
        self.file.write_at_start(&header)?;
        self.file.commit()
    }
}
