//! gzip: any number of members.

use std::io::{self, Read};

use flate2::bufread::GzDecoder;

use super::input::Input;

/// What a member begins with.
pub(super) const MAGIC: [u8; 2] = [0x1F, 0x8B];

/// A gzip file between two members, or within one.
pub(super) enum Gzip {
    Between(Input),
    Within(Box<GzDecoder<Input>>),
    /// After an error.
    Lost,
}

impl Gzip {
    pub(super) fn new(input: Input) -> Self {
        Self::Between(input)
    }

    /// `None` after an error.
    pub(super) fn input(&self) -> Option<&Input> {
        match self {
            Self::Between(input) => Some(input),
            Self::Within(decoder) => Some(decoder.get_ref()),
            Self::Lost => None,
        }
    }

    pub(super) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(self, Self::Lost) {
                Self::Lost => return Err(io::ErrorKind::InvalidData.into()),
                Self::Between(mut input) => {
                    let head = input.at_least(MAGIC.len())?;
                    let (is_end, is_member) = (head.is_empty(), head.starts_with(&MAGIC));
                    let is_first = input.offset() == 0;
                    if is_end || !is_member {
                        *self = Self::Between(input);
                        // Garbage from the first byte on is damage; later it follows something whole.
                        let kind = if is_first { io::ErrorKind::InvalidData } else { io::ErrorKind::InvalidInput };
                        return if is_end { Ok(0) } else { Err(io::Error::new(kind, "no gzip header")) };
                    }
                    *self = Self::Within(Box::new(GzDecoder::new(input)));
                }
                Self::Within(mut decoder) => {
                    let result = decoder.read(out);
                    if matches!(result, Ok(0)) {
                        *self = Self::Between(decoder.into_inner());
                        continue;
                    }
                    *self = Self::Within(decoder);
                    return result.map_err(|error| match error.kind() {
                        io::ErrorKind::UnexpectedEof => error,
                        _ if error.raw_os_error().is_some() => error,
                        _ => io::Error::new(io::ErrorKind::InvalidData, error),
                    });
                }
            }
        }
    }
}
