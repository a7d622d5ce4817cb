//! Appending without a branch on how much.

/// Appends the first places of each entry, as many as its last place says: at most all four.
///
/// An entry is copied whole, and what is too much is written over by the next. Room made first by `Vec::resize` took 5 %
/// of all instructions of encoding, putting the ids together elsewhere and copying them then as many.
///
/// # Panics
/// If `out` has no room for four values an entry.
#[inline]
pub(crate) fn append_counted(out: &mut Vec<u32>, entries: &[[u32; 4]]) {
    let length = out.len();
    let spare = out.spare_capacity_mut();
    assert!(spare.len() / 4 >= entries.len(), "room has been made");
    let mut written = 0;
    for entry in entries {
        // SAFETY: every entry before moved `written` on by at most four, and there is room for four values each.
        unsafe { spare.as_mut_ptr().add(written).cast::<[u32; 4]>().write_unaligned(*entry) };
        written += entry[3].min(4) as usize;
    }
    // SAFETY: `written` values behind the first `length` are within the capacity, and each of them has been written: an
    // entry begins where the one before is counted to end, and four values are written from there.
    unsafe { out.set_len(length + written) };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn appends_what_is_counted(
            before in prop::collection::vec(any::<u32>(), 0..5),
            entries in prop::collection::vec((any::<[u32; 3]>(), 0..6_u32).prop_map(|([a, b, c], n)| [a, b, c, n]), 0..50),
        ) {
            let mut expected = before.clone();
            expected.extend(entries.iter().flat_map(|entry| &entry[..entry[3].min(4) as usize]));
            let mut out = before;
            out.reserve_exact(4 * entries.len());
            append_counted(&mut out, &entries);
            prop_assert_eq!(out, expected);
        }
    }

    #[test]
    #[should_panic(expected = "room has been made")]
    fn refuses_to_write_past_the_end() {
        append_counted(&mut Vec::new(), &[[0; 4]]);
    }
}
