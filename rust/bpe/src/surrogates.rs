//! Strings that are almost Unicode: Python's, in which half of a UTF-16 pair may stand alone.

/// Text from bytes in which surrogates are encoded like other code points (Python's `"surrogatepass"`): a high one
/// followed by a low one becomes the character they mean together, any other becomes U+FFFD, as in tiktoken. Other
/// malformed bytes become U+FFFD too.
pub fn repair_surrogates(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        let error = match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                return text;
            }
            Err(error) => error,
        };
        let (valid, invalid) = rest.split_at(error.valid_up_to());
        text.push_str(std::str::from_utf8(valid).expect("valid up to here"));
        let (character, length) = match (surrogate(invalid), invalid.get(3..).and_then(surrogate)) {
            (Some(high @ 0xD800..=0xDBFF), Some(low @ 0xDC00..=0xDFFF)) => {
                let code_point = 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                (char::from_u32(code_point).expect("a pair means a character"), 6)
            }
            (Some(_), _) => (char::REPLACEMENT_CHARACTER, 3),
            (None, _) => (char::REPLACEMENT_CHARACTER, error.error_len().unwrap_or(invalid.len())),
        };
        text.push(character);
        rest = &invalid[length..];
    }
}

/// The surrogate that `bytes` begin with.
fn surrogate(bytes: &[u8]) -> Option<u32> {
    match *bytes {
        [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, ..] => {
            Some(0xD000 | u32::from(second & 0x3F) << 6 | u32::from(third & 0x3F))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_joined_and_lone_ones_replaced() {
        let (high, low) = (b"\xED\xA0\xBD", b"\xED\xB8\x80");
        let joined = |parts: &[&[u8]]| repair_surrogates(&parts.concat());
        assert_eq!(joined(&[b"a", high, low, b"z"]), "a😀z");
        assert_eq!(joined(&[high, high, low]), "\u{fffd}😀");
        assert_eq!(joined(&[low, high]), "\u{fffd}\u{fffd}");
        assert_eq!(joined(&["日\u{d7ff}\u{e000}".as_bytes()]), "日\u{d7ff}\u{e000}");
        assert_eq!(joined(&[b"\xFFx\xED\xA0"]), "\u{fffd}x\u{fffd}\u{fffd}");
    }
}
