//! Random bytes and damaged ones, the same on every run.

/// Xorshift: as random as this needs, without a dependency.
#[derive(Debug)]
pub struct Mutator(u64);

impl Mutator {
    /// Another seed gives other bytes; 0 is taken for 1.
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 16).expect("48 bits") % limit.max(1)
    }

    /// Up to so many bytes.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next().to_le_bytes()[2]).collect()
    }

    /// A copy of what is sound, damaged in up to four places: bytes changed, taken out, doubled, or the end cut off. The
    /// first byte, which says what the others are, stays.
    pub fn damaged(&mut self, sound: &[u8]) -> Vec<u8> {
        let mut bytes = sound.to_vec();
        for _ in 0..=self.below(4) {
            let at = 1 + self.below(bytes.len().saturating_sub(1));
            let to = (at + 1 + self.below(8)).min(bytes.len());
            if at >= to {
                break;
            }
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..to)),
                2 => bytes.splice(at..at, bytes[at..to].to_vec()).for_each(drop),
                3 => bytes[at] = *b"\"{}[],:0\\"[..].get(self.below(9)).expect("nine of them"),
                _ => bytes[at] ^= 1 << self.below(8),
            }
        }
        bytes
    }
}
