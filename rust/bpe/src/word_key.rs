//! Short byte strings as integers: up to 15 bytes and their length in one `u128`, up to 31 in two.
//!
//! Nearly every pretoken is that short (99.96 % of the occurrences in English text), and tables that hold the key
//! itself answer with one comparison and no pointer to follow.

use std::ops::Range;

use crate::raw::sixteen_at;

/// The longest byte string that fits.
pub(crate) const MAX_LEN: usize = 15;
/// The longest that fits into two.
pub(crate) const MAX_LONG_LEN: usize = 31;

/// The low bytes of each length, from a table: shifting 128 bits by a variable amount takes longer than a load.
static MASKS: [u128; MAX_LEN + 1] = {
    let mut masks = [0; MAX_LEN + 1];
    let mut length = 1;
    while length <= MAX_LEN {
        masks[length] = masks[length - 1] << 8 | 0xFF;
        length += 1;
    }
    masks
};

/// The bytes of `text[range]` in the low 120 bits, their number in the top byte. Never 0 for a non-empty range;
/// `None` if the range is longer than [`MAX_LEN`].
#[inline]
pub(crate) fn pack(text: &[u8], range: &Range<usize>) -> Option<u128> {
    let length = range.end.wrapping_sub(range.start);
    if length > MAX_LEN {
        return None;
    }
    // One unaligned load serves all but the last few bytes of a text.
    let word = if let Some(bytes) = sixteen_at(text, range.start) {
        let [low, high] = [0, 8].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes")));
        let mask = MASKS[length];
        u128::from(low & mask as u64) | u128::from(high & (mask >> 64) as u64) << 64
    } else {
        let mut bytes = [0; 16];
        bytes[..length].copy_from_slice(&text[range.clone()]);
        u128::from_le_bytes(bytes)
    };
    Some(word | (length as u128) << 120)
}

/// As [`pack`], for a range of 16 to 31 bytes: the first sixteen, and the others in the low 120 bits with the number of
/// all in the top byte.
#[inline]
pub(crate) fn pack_long(text: &[u8], range: &Range<usize>) -> Option<[u128; 2]> {
    let (first, rest) = text.get(range.clone())?.split_first_chunk::<16>()?;
    let high = if rest.is_empty() { 0 } else { pack(text, &(range.start + 16..range.end))? & ((1 << 120) - 1) };
    Some([u128::from_le_bytes(*first), high | ((16 + rest.len()) as u128) << 120])
}

/// The bytes that `key` was packed from: the first `.1` of `.0`.
#[inline]
pub(crate) fn unpack(key: u128) -> ([u8; 16], usize) {
    ((key & ((1 << 120) - 1)).to_le_bytes(), (key >> 120) as usize)
}

/// The bytes that a key of [`pack_long`] was packed from: the first `.1` of `.0`.
#[inline]
pub(crate) fn unpack_long([first, rest]: [u128; 2]) -> ([u8; 32], usize) {
    let (rest, length) = unpack(rest);
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&first.to_le_bytes());
    bytes[16..].copy_from_slice(&rest);
    (bytes, length)
}

/// A hash with well-mixed low and high bits: the halves multiplied into 128 bits and folded.
#[inline]
pub(crate) fn hash(key: u128) -> u64 {
    // Odd constants with evenly spread bits: the fractional parts of the golden ratio and of pi.
    let low = key as u64 ^ 0x9E37_79B9_7F4A_7C15;
    let high = (key >> 64) as u64 ^ 0x2431_7F4A_8885_A308;
    let product = u128::from(low) * u128::from(high);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn unpack_undoes_pack_inside_and_at_the_end_of_a_text() {
        let text: Vec<u8> = (0..40).collect();
        let mut keys = HashSet::new();
        for start in 0..text.len() {
            for end in start + 1..=text.len().min(start + MAX_LEN) {
                let key = pack(&text, &(start..end)).unwrap();
                let (bytes, length) = unpack(key);
                assert_eq!(bytes[..length], text[start..end]);
                assert!(keys.insert(key));
            }
        }
        let mut long_keys = HashSet::new();
        for start in 0..text.len() {
            for end in start + 1..=text.len() {
                let key = pack_long(&text, &(start..end));
                assert_eq!(key.is_some(), (16..=31).contains(&(end - start)));
                if let Some((bytes, length)) = key.map(unpack_long) {
                    assert_eq!(bytes[..length], text[start..end]);
                }
                assert!(key.is_none_or(|key| long_keys.insert(key)));
            }
        }
        assert_eq!(pack(&text, &(0..16)), None);
        assert_ne!(pack(&[0], &(0..1)), pack(&[0, 0], &(0..2)));
    }
}
