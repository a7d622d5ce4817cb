//! Strings of JSON, sixty-four bytes at a time.

#![allow(clippy::inline_always, reason = "what is not inlined into a job is compiled without its instructions")]

use crate::raw::simd::{BLOCK, Job, Simd};

/// What is wrong with a string, and at which byte of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has no end.
    Unfinished(usize),
    /// A control character, which JSON wants escaped.
    Control(usize),
    /// A backslash with something behind it that makes no escape.
    Escape(usize),
}

/// A string that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StringEnd {
    /// Behind its closing quote.
    pub(super) end: usize,
    /// Whether it has no escapes: then it says what stands between the quotes, and nothing was written.
    pub(super) is_plain: bool,
}

/// Reads the string whose first character stands at `start`, behind the quote, and writes what it says to `out` unless
/// it is plain. No string says more bytes than it is written in.
pub(super) struct ReadString<'a> {
    pub(super) line: &'a [u8],
    pub(super) start: usize,
    pub(super) out: &'a mut Vec<u8>,
}

impl Job for ReadString<'_> {
    type Output = Result<StringEnd, Fault>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self { line, start, out } = self;
        out.clear();
        let (mut from, mut is_plain) = (start, true);
        loop {
            let at = next_special(simd, line, from);
            match line.get(at) {
                Some(b'"') => {
                    if !is_plain {
                        out.extend_from_slice(&line[from..at]);
                    }
                    return Ok(StringEnd { end: at + 1, is_plain });
                }
                Some(b'\\') => {
                    out.extend_from_slice(&line[from..at]);
                    is_plain = false;
                    from = unescape(line, at, out).ok_or(Fault::Escape(at))?;
                }
                Some(_) => return Err(Fault::Control(at)),
                None => return Err(Fault::Unfinished(start)),
            }
        }
    }
}

/// The place of the first quote, backslash or control character from `at` on; the length of the line if there is none.
#[inline(always)]
fn next_special<S: Simd>(simd: S, line: &[u8], mut at: usize) -> usize {
    loop {
        let rest = &line[at..];
        let mut padded = [b' '; BLOCK];
        let block = if let Some(block) = rest.first_chunk() {
            block
        } else {
            padded[..rest.len()].copy_from_slice(rest);
            &padded
        };
        let bytes = simd.load(block);
        let special = simd.equal(bytes, b'"') | simd.equal(bytes, b'\\') | simd.in_range(bytes, 0, b' ');
        if special != 0 {
            return at + special.trailing_zeros() as usize;
        }
        if rest.len() <= BLOCK {
            return line.len();
        }
        at += BLOCK;
    }
}

/// Writes the character that the escape at `at` means; where it ends, or `None` if it is none.
fn unescape(line: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    let byte = match line.get(at + 1)? {
        byte @ (b'"' | b'\\' | b'/') => *byte,
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return unescape_unicode(line, at, out),
        _ => return None,
    };
    out.push(byte);
    Some(at + 2)
}

/// Of surrogates two that make a pair are one character, lone ones U+FFFD.
fn unescape_unicode(line: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    let first = code_unit(line, at)?;
    let (character, length) = match (first, code_unit(line, at + 6)) {
        (high @ 0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) => {
            (char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00)), 12)
        }
        _ => (char::from_u32(first), 6),
    };
    let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(at + length)
}

/// The number behind the `\u` at `at`.
fn code_unit(line: &[u8], at: usize) -> Option<u32> {
    let escape = line.get(at..at + 6)?;
    let digit = |value: u32, byte: &u8| Some(value << 4 | char::from(*byte).to_digit(16)?);
    escape.strip_prefix(b"\\u")?.iter().try_fold(0, digit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::raw::simd::Instructions;

    /// With every set of instructions, which must agree.
    fn read(line: &str) -> Result<(usize, String), Fault> {
        let mut results = Instructions::all().into_iter().map(|instructions| {
            let mut out = Vec::new();
            let found = instructions.run(ReadString { line: line.as_bytes(), start: 1, out: &mut out })?;
            let text = if found.is_plain { line[1..found.end - 1].to_owned() } else { String::from_utf8(out).unwrap() };
            Ok((found.end, text))
        });
        let first = results.next().unwrap();
        assert!(results.all(|other| other == first));
        first
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn what_was_written_is_read(
            pieces in prop::collection::vec(
                prop::sample::select(vec!["plain text ", "é", "日本", "😀", "\"", "\\", "\n", "\0", "\u{1f}", "/", "u0041"]), 0..60,
            ),
            behind in prop::sample::select(vec!["", "}", ", \"a\": 1}"]),
        ) {
            let text = pieces.concat();
            let written = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(read(&format!("{written}{behind}")), Ok((written.len(), text.clone())));
            let escaped = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect::<Vec<_>>().concat();
            prop_assert_eq!(read(&format!("\"{escaped}\"{behind}")), Ok((escaped.len() + 2, text)));
            // However it is cut off, it has no end.
            let cut = (0..written.len()).rev().find(|length| written.is_char_boundary(*length)).unwrap();
            prop_assert!(read(&written[..cut.max(1)]).is_err());
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let far = " ".repeat(100);
        assert_eq!(read(&format!("\"{far}")), Err(Fault::Unfinished(1)));
        assert_eq!(read(&format!("\"{far}\t\"")), Err(Fault::Control(101)));
        for escape in ["\\x", "\\u12g4", "\\u+123", "\\u12", "\\U0041", "\\"] {
            assert_eq!(
                read(&format!("\"{far}{escape}\"")).unwrap_err(),
                match escape {
                    "\\" => Fault::Unfinished(1), // the quote is escaped
                    _ => Fault::Escape(101),
                },
                "{escape}"
            );
        }
        assert_eq!(read("\"\\ud83d\\x\""), Err(Fault::Escape(7)));
    }
}
