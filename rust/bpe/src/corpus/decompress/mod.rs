//! The bytes of a file, whatever it is compressed with.
//!
//! A file is a sequence of gzip members or Zstandard frames, and all of them are read. It must end where one of them
//! ends: other readers take a file that was cut off, or one with something else at its end, for a whole one.

mod gzip;
mod input;
mod zstd;

use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::path::PathBuf;

use self::gzip::Gzip;
use self::input::Input;
use self::zstd::Zstd;
use super::source::{Compression, Source};
use crate::error::{Error, Result};

/// A file that is read from its beginning, or from an offset if it is not compressed.
pub(super) struct Decompressor {
    name: PathBuf,
    codec: Codec,
}

enum Codec {
    Plain(Input),
    Gzip(Gzip),
    Zstd(Zstd),
}

impl Decompressor {
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened, [`Error::Malformed`] if it is empty though it should be compressed.
    pub(super) fn open(source: &Source, start: u64) -> Result<Self> {
        let name = source.name();
        let mut file = File::open(&source.path).map_err(Error::io(&name))?;
        if file.metadata().map_err(Error::io(&name))?.is_dir() {
            return Err(Error::io(&name)(io::ErrorKind::IsADirectory.into()));
        }
        if start > 0 {
            file.seek(SeekFrom::Start(start)).map_err(Error::io(&name))?;
        }
        let mut input = Input::new(file, start);
        let head = input.fill_buf().map_err(Error::io(&name))?;
        if source.compression != Compression::None && head.is_empty() {
            return Err(Error::malformed(
                &name,
                "is empty, expected compressed data (even an empty text has some); was it written completely?",
            ));
        }
        let codec = match source.compression {
            Compression::None if start == 0 && (head.starts_with(&gzip::MAGIC) || head.starts_with(&zstd::MAGIC)) => {
                let (kind, suffix) = if head.starts_with(&gzip::MAGIC) { ("gzip", "gz") } else { ("Zstandard", "zst") };
                return Err(Error::malformed(
                    &name,
                    format!("holds {kind} data, expected text; give it a name that ends in .{suffix}"),
                ));
            }
            Compression::None => Codec::Plain(input),
            Compression::Gzip => Codec::Gzip(Gzip::new(input)),
            Compression::Zstd => Codec::Zstd(Zstd::new(input).map_err(Error::io(&name))?),
        };
        Ok(Self { name, codec })
    }

    /// How many bytes of the file have been used, from its beginning.
    pub(super) fn offset(&self) -> u64 {
        match &self.codec {
            Codec::Plain(input) => input.offset(),
            Codec::Gzip(gzip) => gzip.input().map_or(0, Input::offset),
            Codec::Zstd(zstd) => zstd.input().offset(),
        }
    }

    /// Some bytes into `out`, which is not empty; their number, 0 at the end of the file.
    ///
    /// # Errors
    /// [`Error::Malformed`] with the offset in the file if it is cut off, damaged, or goes on with something else.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let result = match &mut self.codec {
            Codec::Plain(input) => input.read(out),
            Codec::Gzip(gzip) => gzip.read(out),
            Codec::Zstd(zstd) => zstd.read(out),
        };
        result.map_err(|error| self.explain(error))
    }

    /// Checks, at the end, that a regular file is still the one that was opened: nobody wrote to it meanwhile.
    ///
    /// # Errors
    /// [`Error::Malformed`] if somebody did.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        let input = match &self.codec {
            Codec::Plain(input) => Some(input),
            Codec::Gzip(gzip) => gzip.input(),
            Codec::Zstd(zstd) => Some(zstd.input()),
        };
        if input.is_none_or(Input::is_unchanged) {
            return Ok(());
        }
        Err(Error::malformed(&self.name, "changed while it was read; try again when nobody writes to it"))
    }

    fn explain(&self, error: io::Error) -> Error {
        let (kind, repair) = match self.codec {
            Codec::Plain(_) => return Error::io(&self.name)(error),
            Codec::Gzip(_) => ("gzip", "gzip -t"),
            Codec::Zstd(_) => ("Zstandard", "zstd -t"),
        };
        if error.raw_os_error().is_some() {
            return Error::io(&self.name)(error);
        }
        let offset = self.offset();
        let what = match error.kind() {
            io::ErrorKind::UnexpectedEof => format!("is cut off: the {kind} data end at byte {offset} in the middle"),
            io::ErrorKind::InvalidInput => {
                format!("goes on at byte {offset} with something that is no {kind} data, after some that is whole")
            }
            _ => format!("is damaged: the {kind} data near byte {offset} cannot be decompressed ({error})"),
        };
        Error::malformed(&self.name, format!("{what}; check it with `{repair}` and fetch it again"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::super::source::Format;
    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        ::zstd::stream::encode_all(text, 3).unwrap()
    }

    /// What a file with this content is decompressed to, in steps of a few bytes.
    fn read(content: &[u8], compression: Compression) -> Result<Vec<u8>> {
        let number = std::thread::current().id();
        let path = std::env::temp_dir().join(format!("bpe-decompress-{}-{number:?}", std::process::id()));
        fs::write(&path, content).unwrap();
        let mut input = Decompressor::open(&Source::new(&path, Format::Text { separator: None }, compression), 0);
        let read = input.as_mut().map_err(|_| ()).map(|input| {
            let (mut all, mut some) = (Vec::new(), [0; 777]);
            loop {
                match input.read(&mut some)? {
                    0 => {
                        assert_eq!(input.offset(), content.len() as u64);
                        return Ok(all);
                    }
                    length => all.extend_from_slice(&some[..length]),
                }
            }
        });
        fs::remove_file(&path).unwrap();
        read.unwrap_or_else(|()| Err(input.err().unwrap()))
    }

    fn text() -> Vec<u8> {
        (0..20_000_u32).flat_map(|number| (number * number % 977).to_string().into_bytes()).collect()
    }

    #[test]
    fn all_members_and_frames_are_read() {
        let text = text();
        let (first, second) = text.split_at(10_000);
        let twice = |compress: fn(&[u8]) -> Vec<u8>| [compress(first), compress(b""), compress(second)].concat();
        assert_eq!(read(&text, Compression::None).unwrap(), text);
        assert_eq!(read(&twice(gzip), Compression::Gzip).unwrap(), text);
        assert_eq!(read(&twice(zstd), Compression::Zstd).unwrap(), text);
        let skippable = [b"\x5A\x2A\x4D\x18\x03\x00\x00\x00abc".to_vec(), zstd(first), zstd(second)].concat();
        assert_eq!(read(&skippable, Compression::Zstd).unwrap(), text);
    }

    #[test]
    fn a_file_that_is_cut_off_is_an_error_wherever_it_ends() {
        for (compress, compression) in
            [(gzip as fn(&[u8]) -> Vec<u8>, Compression::Gzip), (zstd as fn(&[u8]) -> Vec<u8>, Compression::Zstd)]
        {
            let whole = [compress(b"first"), compress(&text())].concat();
            let boundary = compress(b"first").len();
            for length in (0..whole.len()).filter(|length| length % 97 == 0 || length.abs_diff(boundary) < 12) {
                match read(&whole[..length], compression) {
                    Ok(text) => assert_eq!((length, &text[..]), (boundary, &b"first"[..])),
                    Err(error) => assert!(error.to_string().contains("bpe-decompress"), "{error}"),
                }
            }
            let error = read(&whole[..whole.len() - 5], compression).unwrap_err().to_string();
            assert!(error.contains("is cut off: the") && error.contains("at byte"), "{error}");
        }
    }

    #[test]
    fn what_follows_the_end_or_is_damaged_is_an_error() {
        for (compress, compression) in
            [(gzip as fn(&[u8]) -> Vec<u8>, Compression::Gzip), (zstd as fn(&[u8]) -> Vec<u8>, Compression::Zstd)]
        {
            let whole = compress(&text());
            for garbage in [&b"garbage"[..], b"\0", b"\n", &[0; 512]] {
                let error = read(&[&whole, garbage].concat(), compression).unwrap_err().to_string();
                assert!(error.contains(&format!("goes on at byte {}", whole.len())), "{error}");
            }
            let mut damaged = whole.clone();
            damaged[whole.len() / 2] ^= 0x10;
            if compression == Compression::Gzip {
                assert!(read(&damaged, compression).is_err()); // Zstandard has a checksum only if asked
            }
            assert!(read(b"no compressed data", compression).unwrap_err().to_string().contains("is damaged"));
            assert!(read(&whole, Compression::None).unwrap_err().to_string().contains("expected text"));
        }
    }
}
