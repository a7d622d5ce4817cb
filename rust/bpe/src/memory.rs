//! Room in vectors, or an error where the standard library's own methods would end the process. For whatever grows with
//! the input: the caller learns that it was too much, and goes on.

use crate::error::{Error, Result};

/// Room for `additional` more values, amortised as [`Vec::push`] has it if there is so much.
///
/// # Errors
/// [`Error::OutOfMemory`], here as below.
#[inline]
pub(crate) fn reserve<T>(values: &mut Vec<T>, additional: usize) -> Result<()> {
    if values.capacity() - values.len() >= additional {
        return Ok(());
    }
    let reserved = values.try_reserve(additional).or_else(|_| values.try_reserve_exact(additional));
    reserved.map_err(|_| refused::<T>(values.len().saturating_add(additional)))
}

/// Room for so many values by a guess: where that much is refused there may be enough for what really comes.
pub(crate) fn reserve_by_guess<T>(values: &mut Vec<T>, length: usize) {
    let _ = values.try_reserve_exact(length);
}

/// As [`Vec::push`].
#[inline]
pub(crate) fn push<T>(values: &mut Vec<T>, value: T) -> Result<()> {
    reserve(values, 1)?;
    values.push(value);
    Ok(())
}

/// As [`Vec::extend_from_slice`].
#[inline]
pub(crate) fn append<T: Copy>(values: &mut Vec<T>, more: &[T]) -> Result<()> {
    reserve(values, more.len())?;
    values.extend_from_slice(more);
    Ok(())
}

/// As [`Vec::resize`].
pub(crate) fn resize<T: Clone>(values: &mut Vec<T>, length: usize, value: T) -> Result<()> {
    reserve(values, length.saturating_sub(values.len()))?;
    values.resize(length, value);
    Ok(())
}

/// As [`Vec::with_capacity`], exactly.
pub(crate) fn with_capacity<T>(length: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(length).map_err(|_| refused::<T>(length))?;
    Ok(values)
}

/// So many times the same value.
pub(crate) fn filled<T: Clone>(value: T, length: usize) -> Result<Vec<T>> {
    let mut values = with_capacity(length)?;
    values.resize(length, value);
    Ok(values)
}

/// Asks for so much memory at once and gives it back. What follows needs it in many small parts, and one of those that
/// was refused would end the process. Memory that nobody looks at would be left out by the optimiser, and the question
/// with it.
pub(crate) fn expect_room(size_bytes: usize) -> Result<()> {
    with_capacity::<u8>(size_bytes).map(|room| drop(std::hint::black_box(room)))
}

fn refused<T>(length: usize) -> Error {
    Error::OutOfMemory(length.saturating_mul(size_of::<T>()))
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn what_is_refused_is_an_error_that_says_how_much() {
        let refusals = [
            reserve(black_box(&mut Vec::<u64>::new()), usize::MAX / 16),
            with_capacity::<u64>(usize::MAX / 16).map(black_box).map(drop),
            filled(0_u64, usize::MAX / 16).map(black_box).map(drop),
            resize(black_box(&mut vec![1_u64]), usize::MAX / 16, 0),
            expect_room(usize::MAX / 2),
        ];
        for refusal in refusals {
            assert!(matches!(refusal, Err(Error::OutOfMemory(size_bytes)) if size_bytes >= usize::MAX / 2 - 16));
        }
    }

    /// Less than what no vector may have: only the system can refuse it. An optimiser may leave out what nobody looks at.
    #[test]
    fn the_room_that_is_expected_is_really_asked_for() {
        let size_bytes = 1 << 62;
        assert!(matches!(expect_room(size_bytes), Err(Error::OutOfMemory(refused)) if refused == size_bytes));
    }

    #[test]
    fn vectors_come_out_as_by_the_standard_library() {
        let mut values = filled(7, 2).unwrap();
        push(&mut values, 8).unwrap();
        append(&mut values, &[9, 10]).unwrap();
        resize(&mut values, 7, 0).unwrap();
        assert_eq!(values, [7, 7, 8, 9, 10, 0, 0]);
    }
}
