//! The text of a JSON line, with the rule for surrogates that holds everywhere here.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;

use super::documents::Reason;
use crate::surrogates::repair_surrogates;

/// Why a line has no text: the reason and the particulars.
pub(super) type Refusal = (Reason, String);

/// The string under `field` of the object that `line` is. Escapes of surrogates that make a pair become one character,
/// lone ones U+FFFD.
pub(super) fn text_of<'l>(line: &'l str, field: &str) -> Result<Cow<'l, str>, Refusal> {
    let found = parse(line, field).map_err(|error| (reason(&error, line), error.to_string()))?;
    match found {
        Found::None => Err((Reason::MissingText, format!("the object has no {field:?}"))),
        Found::Several => Err((Reason::RepeatedText, format!("the object has {field:?} more than once"))),
        // Without an escape in it the string is a part of the line, and as valid.
        Found::One(Cow::Borrowed(bytes)) => {
            Ok(simdutf8::basic::from_utf8(bytes).map_or_else(|_| repair_surrogates(bytes).into(), Cow::Borrowed))
        }
        Found::One(Cow::Owned(bytes)) => {
            Ok(String::from_utf8(bytes).unwrap_or_else(|error| repair_surrogates(error.as_bytes())).into())
        }
    }
}

fn parse<'l>(line: &'l str, field: &str) -> serde_json::Result<Found<'l>> {
    let mut json = serde_json::Deserializer::from_slice(line.as_bytes());
    let found = json.deserialize_map(FieldOf(field.as_bytes()))?;
    json.end()?;
    // A string that is read as bytes may hold anything, but JSON wants control characters escaped. They are so rare in
    // a line that a second look costs nothing.
    if line.bytes().any(|byte| byte < b' ') {
        serde_json::from_str::<IgnoredAny>(line)?;
    }
    Ok(found)
}

fn reason(error: &serde_json::Error, line: &str) -> Reason {
    match error.classify() {
        Category::Data if line.trim_ascii_start().starts_with('{') => Reason::NotAString,
        Category::Data => Reason::NotAnObject,
        _ => Reason::InvalidJson,
    }
}

/// What an object has under the key.
enum Found<'l> {
    None,
    /// A string, in which surrogates are encoded as if they were characters.
    One(Cow<'l, [u8]>),
    Several,
}

struct FieldOf<'f>(&'f [u8]);

impl<'l> Visitor<'l> for FieldOf<'_> {
    type Value = Found<'l>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'l>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Found::None;
        while let Some(key) = map.next_key_seed(Bytes("a key"))? {
            if *key != *self.0 {
                map.next_value::<IgnoredAny>()?;
            } else if matches!(found, Found::None) {
                found = Found::One(map.next_value_seed(Bytes("a string"))?);
            } else {
                map.next_value::<IgnoredAny>()?;
                found = Found::Several;
            }
        }
        Ok(found)
    }
}

/// A string, read as bytes: as a `str` it could not hold lone surrogates.
struct Bytes(&'static str);

impl<'l> DeserializeSeed<'l> for Bytes {
    type Value = Cow<'l, [u8]>;

    fn deserialize<D: Deserializer<'l>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'l> Visitor<'l> for Bytes {
    type Value = Cow<'l, [u8]>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'l [u8]) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(bytes))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(bytes.to_vec()))
    }

    fn visit_borrowed_str<E>(self, text: &'l str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text.as_bytes()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.as_bytes().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &str) -> String {
        text_of(line, "text").map_or_else(|(reason, _)| reason.name().to_owned(), |text| format!("= {text}"))
    }

    #[test]
    fn the_text_is_found_wherever_it_stands() {
        assert_eq!(text(r#"{"text": "a"}"#), "= a");
        assert_eq!(text(r#" {"meta": {"text": [1, "x"]}, "text":"a\n\u00e9\"", "z": null} "#), "= a\né\"");
        assert_eq!(text(r#"{"te\u0078t": "escaped key", "\ud800": 1}"#), "= escaped key");
        assert_eq!(text(r#"{"text": "nul \u0000"}"#), "= nul \0");
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
            ("{\"text\": 01}", "invalid JSON"),
            ("{\"text\"}", "invalid JSON"),
            ("nonsense", "invalid JSON"),
            ("{'text': 'a'}", "invalid JSON"),
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
        ] {
            assert_eq!(text(line), reason, "{line}");
        }
    }
}
