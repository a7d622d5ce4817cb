//! Where a text may be cut so that its parts, each pretokenized alone, give the pretokens of the whole.
//!
//! Parallel counting, parallel encoding and streaming all cut here; that is what makes them exact. A place is safe if
//! no special token lies across it and the pattern is known to end a pretoken there whatever stands further away. For
//! the named patterns the two characters around the place decide (see [`Pattern::always_splits`]); of any other regular
//! expression nothing is known, so that only the edges of special tokens are safe.

use std::ops::Range;

use super::pattern::Pattern;
use super::special::SpecialTokens;
use super::unicode::is_continuation;

/// The bytes that are searched for a cut before special tokens are looked for; few in tests, whose texts are short.
const NEAR: usize = if cfg!(test) { 4 } else { 1 << 16 };

/// Finds safe cuts for one pattern and one set of special tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cutter<'a> {
    pub(crate) pattern: &'a Pattern,
    pub(crate) specials: &'a SpecialTokens,
}

impl Cutter<'_> {
    /// The first safe cut of the whole `text` at or after `from`; its end if there is none.
    pub(crate) fn first_at_or_after(self, text: &[u8], from: usize) -> usize {
        if !self.pattern.splits_locally() {
            return self.edge_at_or_after(text, from, text.len()).unwrap_or(text.len());
        }
        let find = |range: Range<usize>| range.into_iter().find(|&at| self.is_safe(text, at, false));
        if !self.pattern.splits_rarely() {
            return find(from.max(1)..text.len()).unwrap_or(text.len());
        }
        // Where the pattern has none for long, a special token may be nearer. Both are looked for in stretches of which
        // each is twice as long as the one before: not to the end of the text, which would be searched for each chunk.
        let (mut start, mut size) = (from.max(1), NEAR);
        while start < text.len() {
            let end = text.len().min(start + size);
            if let Some(at) = find(start..end).or_else(|| self.edge_at_or_after(text, from, end)) {
                return at;
            }
            (start, size) = (end, 2 * size);
        }
        text.len()
    }

    /// The first edge at or after `from` of a special token that begins before `limit`.
    fn edge_at_or_after(self, text: &[u8], from: usize, limit: usize) -> Option<usize> {
        let longest = self.specials.longest();
        // What begins before the limit is seen whole.
        let seen = &text[..text.len().min(limit + longest)];
        // Start a token's length early: the edge of a token may be what `from` points at.
        let mut search_from = from.saturating_sub(longest);
        while let Some(token) = self.specials.find_certain(seen, search_from).filter(|token| token.start < limit) {
            if let Some(at) = [token.start, token.end].into_iter().find(|&at| at >= from.max(1)) {
                return Some(at);
            }
            search_from = token.start + 1;
        }
        None
    }

    /// The last safe cut after `after` in a text of which only the beginning is known; `None` if there is none.
    pub(crate) fn last_after(self, text: &[u8], after: usize) -> Option<usize> {
        let mut last = None;
        if self.pattern.splits_locally() {
            last = (after + 1..text.len()).rev().find(|&at| self.is_safe(text, at, true));
            if !self.pattern.splits_rarely() {
                return last;
            }
        }
        let from = last.unwrap_or(after);
        // The longest match may still be growing at the end of what is known.
        self.specials
            .certain_from_last(text, from)
            .flat_map(|token| [token.end, token.start])
            .find(|&at| at > from && !self.specials.lies_across(text, at, true))
            .or(last)
    }

    /// Whether the pattern is known to split at `at` and no special token can lie across it.
    fn is_safe(self, text: &[u8], at: usize, more_follows: bool) -> bool {
        if is_continuation(text[at]) {
            return false;
        }
        self.pattern.always_splits(text, at) && !self.specials.lies_across(text, at, more_follows)
    }
}

/// Divides `text` into ranges of about `target` bytes (at least one), cut safely; together they are the text.
pub(crate) fn chunks(cutter: Cutter<'_>, text: &[u8], target: usize) -> Vec<Range<usize>> {
    each_chunk(cutter, text, target).collect()
}

/// [`chunks`], found one after the other.
pub(crate) fn each_chunk(cutter: Cutter<'_>, text: &[u8], target: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let next = start..cutter.first_at_or_after(text, text.len().min(start + target));
        start = next.end;
        (!next.is_empty()).then_some(next)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::special::Segment;
    use super::*;

    const PIECES: &[&str] = &[
        "'", "s", "ll", "re", "x", "é", "日", "0", "½", " ", "\n", "\r", "/", "A", "ǅ", "\u{301}", "\u{a0}",
        "\u{3000}", ".", "<", "<|", "<|e|>", "|>", "ab", "🙂",
    ];
    const PATTERNS: &[&str] = &["gpt2", "cl100k", "llama3", "qwen2", "o200k", "superbpe", r"\w+ |.\n|[^x]"];
    const SPECIALS: &[&str] = &["<|e|>", "<|e|><|e|>", "ab", "ba", "x.", " <"];

    fn pretokens(pattern: &Pattern, specials: &SpecialTokens, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        specials
            .for_each_segment(text, |segment| match segment {
                Segment::Special(index) => {
                    found.push(format!("[{index}]"));
                    Ok(())
                }
                Segment::Text(_, text) => pattern.for_each_pretoken(text, |range| {
                    found.push(text[range].to_owned());
                    Ok(())
                }),
            })
            .unwrap();
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn chunks_give_the_pretokens_of_the_whole(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40),
            num_specials in 0..=SPECIALS.len(),
            target in 1_usize..20,
            name in prop::sample::select(PATTERNS),
        ) {
            let text = pieces.concat();
            let pattern = Pattern::parse(name).unwrap();
            let tokens: Vec<String> = SPECIALS[..num_specials].iter().map(ToString::to_string).collect();
            let specials = SpecialTokens::new(&tokens).unwrap();
            let cutter = Cutter { pattern: &pattern, specials: &specials };
            let mut found = Vec::new();
            for range in chunks(cutter, text.as_bytes(), target) {
                found.extend(pretokens(&pattern, &specials, &text[range]));
            }
            prop_assert_eq!(found, pretokens(&pattern, &specials, &text));
        }

        #[test]
        fn a_cut_of_a_beginning_holds_however_the_text_goes_on(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40),
            known in 0_usize..40,
            num_specials in 0..=SPECIALS.len(),
            name in prop::sample::select(PATTERNS),
        ) {
            let text = pieces.concat();
            let known = pieces[..known.min(pieces.len())].concat();
            let pattern = Pattern::parse(name).unwrap();
            let tokens: Vec<String> = SPECIALS[..num_specials].iter().map(ToString::to_string).collect();
            let specials = SpecialTokens::new(&tokens).unwrap();
            let cutter = Cutter { pattern: &pattern, specials: &specials };
            if let Some(at) = cutter.last_after(known.as_bytes(), 0) {
                let mut found = pretokens(&pattern, &specials, &text[..at]);
                found.extend(pretokens(&pattern, &specials, &text[at..]));
                prop_assert_eq!(found, pretokens(&pattern, &specials, &text));
            }
        }
    }

    #[test]
    fn ordinary_text_is_cut_close_to_the_target() {
        let text = "The quick brown fox doesn't jump; 日本語もある。".repeat(200);
        let (pattern, specials) = (Pattern::parse("gpt2").unwrap(), SpecialTokens::default());
        let ranges = chunks(Cutter { pattern: &pattern, specials: &specials }, text.as_bytes(), 100);
        assert!(ranges.iter().all(|range| range.len() < 130));
    }
}
