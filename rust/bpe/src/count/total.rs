//! How much text was counted.

use crate::error::{Error, Result};

/// The bytes counted so far, each as often as its text weighs. No count can be greater.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Total(u64);

impl Total {
    #[cfg(test)]
    pub(crate) fn of(num_bytes: u64) -> Self {
        Self(num_bytes)
    }

    pub(crate) fn num_bytes(self) -> u64 {
        self.0
    }

    /// # Errors
    /// [`Error::InvalidArgument`] if it does not fit into 64 bits.
    pub(crate) fn add(&mut self, num_bytes: usize, weight: u64) -> Result<()> {
        self.add_wide(num_bytes as u128 * u128::from(weight))
    }

    /// Of texts that were counted elsewhere, weights included.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(crate) fn add_bytes(&mut self, num_bytes: u64) -> Result<()> {
        self.add_wide(u128::from(num_bytes))
    }

    fn add_wide(&mut self, num_bytes: u128) -> Result<()> {
        let sum = u128::from(self.0) + num_bytes;
        self.0 = u64::try_from(sum).map_err(|_| {
            Error::invalid(format!(
                "the texts times their weights come to {sum} bytes, expected at most {}; divide all weights by a \
                 constant",
                u64::MAX
            ))
        })?;
        Ok(())
    }

    /// A count that is somewhat less than that of the last of so many merges, for the texts that were looked at: there
    /// it was a 20th to a 75th of the bytes a merge. A bad guess costs time, not exactness.
    pub(crate) fn threshold(self, num_merges: usize) -> u64 {
        self.0 / 100 / num_merges.max(1) as u64
    }
}
