//! The text of a JSON line: a strict reader (RFC 8259) that keeps one string of one object.
//!
//! A general parser would copy and check a text several times on its way; here it is looked at once, by blocks, and
//! copied only if it has escapes. Surrogates follow the rule that holds everywhere here: escapes that make a pair are one
//! character, lone ones U+FFFD.

mod string;

use self::string::{Fault, ReadString, StringEnd};
use super::documents::Reason;
use crate::raw::simd::Instructions;

/// Why a line has no text: the reason and the particulars.
pub(super) type Refusal = (Reason, String);

/// Finds the text of lines.
#[derive(Debug)]
pub(super) struct TextField {
    name: String,
    instructions: Instructions,
}

/// Where strings with escapes are written to, kept from line to line.
#[derive(Debug, Default)]
pub(super) struct Unescaped {
    text: Vec<u8>,
    others: Vec<u8>,
}

impl Unescaped {
    /// Makes room for all that a line may say.
    pub(super) fn reserve(&mut self, line_bytes: usize) -> Result<(), std::collections::TryReserveError> {
        self.text.clear();
        self.others.clear();
        self.text.try_reserve(line_bytes)?;
        self.others.try_reserve(line_bytes)
    }
}

/// What an object has under the key.
#[derive(Clone, Copy)]
enum Found {
    None,
    /// A string: its beginning in the line, and where it ends.
    Text(usize, StringEnd),
    /// Something else.
    Other,
    Several,
}

impl TextField {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), instructions: Instructions::best() }
    }

    /// The string under this key of the object that `line` is.
    pub(super) fn text_of<'a>(&self, line: &'a str, unescaped: &'a mut Unescaped) -> Result<&'a str, Refusal> {
        let Unescaped { text, others } = unescaped;
        let mut reader = Reader { line: line.as_bytes(), at: 0, instructions: self.instructions, others };
        match reader.object(&self.name, text)? {
            Found::Text(start, StringEnd { end, is_plain: true }) => Ok(&line[start..end - 1]),
            Found::Text(..) => Ok(simdutf8::basic::from_utf8(text).expect("parts of a str and characters")),
            Found::None => Err((Reason::MissingText, format!("the object has no {:?}", self.name))),
            Found::Other => Err((Reason::NotAString, format!("{:?} is no string", self.name))),
            Found::Several => Err((Reason::RepeatedText, format!("the object has {:?} more than once", self.name))),
        }
    }
}

/// Reads a line from the left to the right.
struct Reader<'a> {
    line: &'a [u8],
    at: usize,
    instructions: Instructions,
    others: &'a mut Vec<u8>,
}

impl Reader<'_> {
    /// The whole line, which is to be an object.
    fn object(&mut self, name: &str, text: &mut Vec<u8>) -> Result<Found, Refusal> {
        let mut found = Found::None;
        self.skip_white_space();
        if self.peek() != Some(b'{') {
            self.skip_value()?;
            self.end()?;
            return Err((Reason::NotAnObject, "the line is another kind of value".to_owned()));
        }
        self.at += 1;
        self.skip_white_space();
        if !self.takes(b'}') {
            loop {
                if self.key(name)? {
                    found = self.found(found, text)?;
                } else {
                    self.skip_value()?;
                }
                self.skip_white_space();
                if !self.goes_on(b'}')? {
                    break;
                }
                self.skip_white_space();
            }
        }
        self.end()?;
        Ok(found)
    }

    /// The value under the key that is looked for.
    fn found(&mut self, before: Found, text: &mut Vec<u8>) -> Result<Found, Refusal> {
        self.skip_white_space();
        if !matches!(before, Found::None) {
            self.skip_value()?;
            return Ok(Found::Several);
        }
        if !self.takes(b'"') {
            self.skip_value()?;
            return Ok(Found::Other);
        }
        let start = self.at;
        Ok(Found::Text(start, self.string(text)?))
    }

    /// The rest of a string whose quote was taken, written to `out` unless it is plain.
    fn string(&mut self, out: &mut Vec<u8>) -> Result<StringEnd, Refusal> {
        let found = self.instructions.run(ReadString { line: self.line, start: self.at, out }).map_err(told)?;
        self.at = found.end;
        Ok(found)
    }

    /// Of a string that only has to be one.
    fn other_string(&mut self) -> Result<StringEnd, Refusal> {
        let mut others = std::mem::take(self.others);
        let found = self.string(&mut others);
        *self.others = others;
        found
    }

    /// A key and its colon; whether it is `name`.
    fn key(&mut self, name: &str) -> Result<bool, Refusal> {
        if !self.takes(b'"') {
            return Err(self.expected("a key in double quotes"));
        }
        let start = self.at;
        let StringEnd { end, is_plain } = self.other_string()?;
        let key = if is_plain { &self.line[start..end - 1] } else { &self.others[..] };
        let is_name = key == name.as_bytes();
        self.skip_white_space();
        if self.takes(b':') { Ok(is_name) } else { Err(self.expected("a colon")) }
    }

    /// A value of any kind, however deep.
    fn skip_value(&mut self) -> Result<(), Refusal> {
        let mut closers = Vec::new();
        loop {
            self.skip_white_space();
            let closer = match self.peek() {
                Some(b'{') => b'}',
                Some(b'[') => b']',
                _ => 0,
            };
            if closer == 0 {
                self.skip_scalar()?;
            } else {
                self.at += 1;
                self.skip_white_space();
                if !self.takes(closer) {
                    closers.push(closer);
                    self.skip_key_of(closer)?;
                    continue;
                }
            }
            // A value has ended, and what it stands in perhaps, too.
            loop {
                let Some(&closer) = closers.last() else { return Ok(()) };
                self.skip_white_space();
                if self.goes_on(closer)? {
                    self.skip_white_space();
                    self.skip_key_of(closer)?;
                    break;
                }
                closers.pop();
            }
        }
    }

    /// In an object a key stands before the value.
    fn skip_key_of(&mut self, closer: u8) -> Result<(), Refusal> {
        if closer == b'}' { self.key("").map(drop) } else { Ok(()) }
    }

    /// Takes a comma, or the closer if there is none; whether it was a comma.
    fn goes_on(&mut self, closer: u8) -> Result<bool, Refusal> {
        if self.takes(b',') {
            return Ok(true);
        }
        if self.takes(closer) { Ok(false) } else { Err(self.expected(&format!("`,` or `{}`", char::from(closer)))) }
    }

    fn skip_scalar(&mut self) -> Result<(), Refusal> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.other_string().map(drop)
            }
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            _ => {
                let rest = &self.line[self.at..];
                let Some(literal) =
                    ["null", "true", "false"].into_iter().find(|word| rest.starts_with(word.as_bytes()))
                else {
                    return Err(self.expected("a value"));
                };
                self.at += literal.len();
                Ok(())
            }
        }
    }

    fn skip_number(&mut self) -> Result<(), Refusal> {
        self.takes(b'-');
        if !self.takes(b'0') {
            self.skip_digits()?;
        }
        if self.takes(b'.') {
            self.skip_digits()?;
        }
        if self.takes(b'e') || self.takes(b'E') {
            let _ = self.takes(b'+') || self.takes(b'-');
            self.skip_digits()?;
        }
        Ok(())
    }

    fn skip_digits(&mut self) -> Result<(), Refusal> {
        let num_digits = self.line[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if num_digits == 0 {
            return Err(self.expected("a digit"));
        }
        self.at += num_digits;
        Ok(())
    }

    fn skip_white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn end(&mut self) -> Result<(), Refusal> {
        self.skip_white_space();
        if self.at == self.line.len() { Ok(()) } else { Err(self.expected("the end of the line")) }
    }

    fn expected(&self, what: &str) -> Refusal {
        let rest = String::from_utf8_lossy(&self.line[self.at..self.line.len().min(self.at + 16)]);
        let seen = rest.chars().next().map_or_else(|| "its end".to_owned(), |character| format!("{character:?}"));
        (Reason::InvalidJson, format!("expected {what} at byte {} of the line, got {seen}", self.at))
    }
}

fn told(fault: Fault) -> Refusal {
    let detail = match fault {
        Fault::Unfinished(at) => format!("the string that begins at byte {at} of the line has no end"),
        Fault::Control(at) => {
            format!("byte {at} of the line is a control character in a string, which must be escaped")
        }
        Fault::Escape(at) => format!("the backslash at byte {at} of the line begins no escape of JSON"),
    };
    (Reason::InvalidJson, detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    use super::*;

    fn text(line: &str) -> String {
        let mut unescaped = Unescaped::default();
        let found = TextField::new("text").text_of(line, &mut unescaped).map(ToOwned::to_owned);
        found.map_or_else(|(reason, _)| reason.name().to_owned(), |text| format!("= {text}"))
    }

    #[test]
    fn the_text_is_found_wherever_it_stands() {
        assert_eq!(text(r#"{"text": "a"}"#), "= a");
        assert_eq!(text(r#" {"meta": {"text": [1, "x"]}, "text":"a\n\u00e9\"", "z": null} "#), "= a\né\"");
        assert_eq!(text(r#"{"te\u0078t": "escaped key", "\ud800": 1}"#), "= escaped key");
        assert_eq!(text(r#"{"text": "nul \u0000"}"#), "= nul \0");
        assert_eq!(text(r#"{"text": "first\n", "other": "with an escape, too\n"}"#), "= first\n");
        assert_eq!(text("\t{\"text\":\t\"white space\"}\r"), "= white space");
        let deep = format!("{{\"meta\": {}{}, \"text\": \"deep\"}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(text(&deep), "= deep");
    }

    #[test]
    fn surrogates_are_paired_or_replaced() {
        assert_eq!(text(r#"{"text": "\ud83d\ude00"}"#), "= 😀");
        assert_eq!(text(r#"{"text": "a\ud83d z"}"#), "= a\u{fffd} z");
        assert_eq!(text(r#"{"text": "\ude00\ud83d\ud83d\ude00\ud83d"}"#), "= \u{fffd}\u{fffd}😀\u{fffd}");
        assert_eq!(text(r#"{"text": "\ud83d\u0041"}"#), "= \u{fffd}A");
    }

    #[test]
    fn what_has_no_text_says_why() {
        for (line, reason) in [
            ("{\"text\": \"a\"", "invalid JSON"),
            ("{\"text\": \"a\"} x", "invalid JSON"),
            ("{\"text\": \"a\tb\"}", "invalid JSON"),
            ("{\"text\": \"\\x\"}", "invalid JSON"),
            ("{\"text\": \"a\", \"meta\": NaN}", "invalid JSON"),
            ("{\"text\": \"a\", }", "invalid JSON"),
            ("{'text': 'a'}", "invalid JSON"),
            ("{\"text\": 01}", "invalid JSON"),
            ("{\"text\"}", "invalid JSON"),
            ("nonsense", "invalid JSON"),
            ("[\"text\"]", "not an object"),
            ("\"text\"", "not an object"),
            ("null", "not an object"),
            ("{}", "missing text"),
            ("{\"Text\": \"a\"}", "missing text"),
            ("{\"text\": null}", "not a string"),
            ("{\"text\": 1.5}", "not a string"),
            ("{\"text\": [\"a\"]}", "not a string"),
            ("{\"text\": {\"a\": 1}}", "not a string"),
            ("{\"text\": \"a\", \"text\": \"b\"}", "repeated text"),
            ("{\"text\": null, \"text\": \"b\"}", "repeated text"),
        ] {
            assert_eq!(text(line), reason, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let detail = |line| TextField::new("text").text_of(line, &mut Unescaped::default()).unwrap_err().1;
        assert_eq!(detail("{\"text\": x}"), "expected a value at byte 9 of the line, got 'x'");
        assert_eq!(detail("{\"text\": \"a\""), "expected `,` or `}` at byte 12 of the line, got its end");
        assert_eq!(detail("{text: 1}"), "expected a key in double quotes at byte 1 of the line, got 't'");
        assert_eq!(detail("{\"text\": \"a"), "the string that begins at byte 10 of the line has no end");
    }

    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\"text\"",
        "\"text\":",
        "\"te\\u0078t\"",
        "\"a\\n\"",
        "\"é\"",
        "\"",
        "\\",
        "null",
        "true",
        "fals",
        "0",
        "-",
        "1.5",
        "12",
        "1e",
        "+5",
        ".",
        "{}",
        "\"text\": \"x\"",
        ", \"b\": [1, {\"c\": 2}]",
        "\t",
        "\u{b}",
    ];

    /// By a general parser; `None` for a number beyond its reach.
    fn expected(line: &str) -> Option<String> {
        if serde_json::from_str::<IgnoredAny>(line).is_err() {
            return Some("invalid JSON".to_owned());
        }
        let value: Value = serde_json::from_str(line).ok()?;
        Some(match (value.as_object(), value.get("text")) {
            (None, _) => "not an object".to_owned(),
            (_, None) => "missing text".to_owned(),
            (_, Some(Value::String(text))) => format!("= {text}"),
            _ => "not a string".to_owned(),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn a_general_parser_says_the_same(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..14), is_object: bool) {
            let middle = pieces.concat();
            let line = if is_object { format!("{{\"text\": \"long enough for a block of sixty-four bytes\\n\"{middle}}}") } else { middle };
            let found = text(&line);
            let is_as_expected = expected(&line).is_none_or(|expected| found == expected);
            prop_assert!(is_as_expected || found == "repeated text", "{line}: {found}");
        }
    }
}
