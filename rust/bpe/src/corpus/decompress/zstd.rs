//! Zstandard: any number of frames.

use std::io::{self, BufRead};

use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::input::Input;

/// What a frame begins with.
pub(super) const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// Frames made with `zstd --long=29` are read, in 512 MB; the usual levels need 8 MB and `--ultra -22` 128 MB.
const MAX_WINDOW_LOG: u32 = 29;

/// A file of frames, between two of them or within one.
pub(super) struct Zstd {
    input: Input,
    decoder: Decoder<'static>,
    in_frame: bool,
}

impl Zstd {
    pub(super) fn new(input: Input) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))?;
        Ok(Self { input, decoder, in_frame: false })
    }

    pub(super) fn input(&self) -> &Input {
        &self.input
    }

    pub(super) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Self { input, decoder, in_frame } = self;
        loop {
            if !*in_frame {
                let head = input.at_least(MAGIC.len())?;
                if head.is_empty() {
                    return Ok(0);
                }
                // 0x184D2A50 to 0x184D2A5F begin frames that decoders skip.
                let is_skippable = head.len() >= 4 && head[1..4] == [0x2A, 0x4D, 0x18] && head[0] & 0xF0 == 0x50;
                if !head.starts_with(&MAGIC) && !is_skippable {
                    let kind =
                        if input.offset() == 0 { io::ErrorKind::InvalidData } else { io::ErrorKind::InvalidInput };
                    return Err(io::Error::new(kind, "no frame header"));
                }
                *in_frame = true;
            }
            let available = input.fill_buf()?;
            let is_end = available.is_empty();
            let status = decoder
                .run_on_buffers(available, out)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            input.consume(status.bytes_read);
            *in_frame = status.remaining != 0;
            if status.bytes_written > 0 {
                return Ok(status.bytes_written);
            }
            if is_end && *in_frame {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
