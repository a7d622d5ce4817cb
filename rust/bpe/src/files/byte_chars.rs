//! GPT-2's printable alphabet for bytes, in which vocabulary files spell tokens.
//!
//! Bytes that print (`!` to `~`, `¡` to `¬`, `®` to `ÿ`) stand for themselves; the other 68, in order, for the
//! characters from U+0100 on. A space is `Ġ`, a newline `Ċ`.

/// The character of each byte.
pub(crate) fn char_of(byte: u8) -> char {
    match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => byte.into(),
        0..=0x20 => offset(byte),
        0x7F..=0xA0 => offset(byte - 0x7F + 0x21),
        0xAD => offset(0x43),
    }
}

/// The byte that a character stands for, if any.
pub(crate) fn byte_of(character: char) -> Option<u8> {
    let code_point = u32::from(character);
    if let Ok(byte) = u8::try_from(code_point) {
        return (char_of(byte) == character).then_some(byte);
    }
    match code_point.checked_sub(0x100)? {
        number @ 0..=0x20 => Some(number as u8),
        number @ 0x21..=0x42 => Some(number as u8 - 0x21 + 0x7F),
        0x43 => Some(0xAD),
        _ => None,
    }
}

fn offset(number: u8) -> char {
    char::from_u32(0x100 + u32::from(number)).expect("U+0100 to U+0143 are characters")
}

/// A token as it is spelt in files.
pub(crate) fn spell(token: &[u8]) -> String {
    token.iter().map(|byte| char_of(*byte)).collect()
}

/// The token that is spelt so; `None` if a character stands for no byte.
pub(crate) fn unspell(spelling: &str) -> Option<Vec<u8>> {
    // Room for all at once: `collect` into an `Option` cannot know how much it takes.
    let mut token = Vec::with_capacity(spelling.len());
    for character in spelling.chars() {
        token.push(byte_of(character)?);
    }
    Some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_is_a_bijection_onto_printable_characters() {
        let all: Vec<u8> = (0..=255).collect();
        let spelling = spell(&all);
        assert_eq!(unspell(&spelling).unwrap(), all);
        assert!(spelling.chars().all(|character| !character.is_whitespace() && !character.is_control()));
        assert_eq!(spell(b" a\n"), "ĠaĊ");
        assert_eq!(unspell("日"), None);
        assert_eq!(unspell(" "), None);
    }
}
