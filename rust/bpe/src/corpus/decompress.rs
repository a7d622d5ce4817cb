//! The bytes of a file, whatever it is compressed with.
//!
//! A file is a sequence of gzip members or Zstandard frames, and all of them are read. It must end where one of them
//! ends: other readers take a file that was cut off, or one with something else at its end, for a whole one.

use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::path::PathBuf;

use flate2::bufread::GzDecoder;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, Operation};

use super::source::{Compression, Source};
use crate::error::{Error, Result};

/// Read from the file at a time.
const BLOCK_BYTES: usize = 1 << 18;
/// Frames made with `zstd --long=29` are read, in 512 MB; the usual levels need 8 MB and `--ultra -22` 128 MB.
const MAX_WINDOW_LOG: u32 = 29;
const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// A file that is read from its beginning, or from an offset if it is not compressed.
pub(super) struct Decompressor {
    name: PathBuf,
    codec: Codec,
}

enum Codec {
    Plain(Input),
    Gzip(Gzip),
    Zstd { input: Input, decoder: ZstdDecoder<'static>, in_frame: bool },
}

/// A gzip file between two members, or within one.
enum Gzip {
    Between(Input),
    Within(Box<GzDecoder<Input>>),
    /// After an error.
    Lost,
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
        let mut input = Input { file, buffer: vec![0; BLOCK_BYTES], start: 0, end: 0, offset: start };
        let head = input.fill_buf().map_err(Error::io(&name))?;
        if source.compression != Compression::None && head.is_empty() {
            return Err(Error::malformed(
                &name,
                "is empty, expected compressed data (even an empty text has some); was it written completely?",
            ));
        }
        let codec = match source.compression {
            Compression::None if start == 0 && (head.starts_with(&GZIP_MAGIC) || head.starts_with(&ZSTD_MAGIC)) => {
                let (kind, suffix) = if head.starts_with(&GZIP_MAGIC) { ("gzip", "gz") } else { ("Zstandard", "zst") };
                return Err(Error::malformed(
                    &name,
                    format!("holds {kind} data, expected text; give it a name that ends in .{suffix}"),
                ));
            }
            Compression::None => Codec::Plain(input),
            Compression::Gzip => Codec::Gzip(Gzip::Between(input)),
            Compression::Zstd => {
                let mut decoder = ZstdDecoder::new().map_err(Error::io(&name))?;
                decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG)).map_err(Error::io(&name))?;
                Codec::Zstd { input, decoder, in_frame: false }
            }
        };
        Ok(Self { name, codec })
    }

    /// How many bytes of the file have been used, from its beginning.
    pub(super) fn offset(&self) -> u64 {
        match &self.codec {
            Codec::Plain(input) | Codec::Gzip(Gzip::Between(input)) | Codec::Zstd { input, .. } => input.offset,
            Codec::Gzip(Gzip::Within(decoder)) => decoder.get_ref().offset,
            Codec::Gzip(Gzip::Lost) => 0,
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
            Codec::Zstd { input, decoder, in_frame } => read_zstd(input, decoder, in_frame, out),
        };
        result.map_err(|error| self.explain(error))
    }

    fn explain(&self, error: io::Error) -> Error {
        let (kind, repair) = match self.codec {
            Codec::Plain(_) => return Error::io(&self.name)(error),
            Codec::Gzip(_) => ("gzip", "gzip -t"),
            Codec::Zstd { .. } => ("Zstandard", "zstd -t"),
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

impl Gzip {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(self, Self::Lost) {
                Self::Lost => return Err(io::ErrorKind::InvalidData.into()),
                Self::Between(mut input) => {
                    let head = input.at_least(GZIP_MAGIC.len())?;
                    let (is_end, is_member) = (head.is_empty(), head.starts_with(&GZIP_MAGIC));
                    let is_first = input.offset == 0;
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

fn read_zstd(
    input: &mut Input,
    decoder: &mut ZstdDecoder<'_>,
    in_frame: &mut bool,
    out: &mut [u8],
) -> io::Result<usize> {
    loop {
        if !*in_frame {
            let head = input.at_least(ZSTD_MAGIC.len())?;
            if head.is_empty() {
                return Ok(0);
            }
            // 0x184D2A50 to 0x184D2A5F begin frames that decoders skip.
            let is_skippable = head.len() >= 4 && head[1..4] == [0x2A, 0x4D, 0x18] && head[0] & 0xF0 == 0x50;
            if !head.starts_with(&ZSTD_MAGIC) && !is_skippable {
                let kind = if input.offset == 0 { io::ErrorKind::InvalidData } else { io::ErrorKind::InvalidInput };
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

/// A file read in blocks, of which it is known how much has been used.
struct Input {
    file: File,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
}

impl Input {
    /// What is buffered, at least `num_bytes` unless the file ends before.
    fn at_least(&mut self, num_bytes: usize) -> io::Result<&[u8]> {
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

fn read_some(file: &mut File, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
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
        zstd::stream::encode_all(text, 3).unwrap()
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
