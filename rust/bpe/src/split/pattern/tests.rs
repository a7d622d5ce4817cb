//! Scanners against regular expressions, and what patterns refuse.

use proptest::prelude::*;

use super::*;

fn pretokens(pattern: &str, text: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    Pattern::parse(pattern)?.for_each_pretoken(text, |range| {
        found.push(text[range].to_owned());
        Ok(())
    })?;
    Ok(found)
}

/// The ends of the pretokens of `text[start..]` by one set of instructions.
fn ends(pattern: &Pattern, instructions: Instructions, text: &str, start: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let visit = |ends: &[usize]| {
        assert!((1..=MAX_ENDS).contains(&ends.len()));
        found.extend_from_slice(ends);
        Ok(())
    };
    pattern.for_each_batch_with(instructions, text, start..text.len(), &mut [0; MAX_ENDS], visit).unwrap();
    found
}

fn ends_by_regex(regex: &Regex, text: &str, start: usize) -> Vec<usize> {
    let mut found = Vec::new();
    for_each_match(regex, &text[start..], |range| {
        found.push(start + range.end);
        Ok(())
    })
    .unwrap();
    found
}

#[test]
fn text_that_a_regex_leaves_out_is_kept() {
    assert_eq!(pretokens("[a-z]+", "1ab2 cd3").unwrap(), ["1", "ab", "2 ", "cd", "3"]);
    assert_eq!(pretokens("x*", "aab").unwrap(), ["aab"]);
}

#[test]
fn the_spellings_of_a_named_pattern_are_recognised() {
    for named in &NAMED {
        for regex in named.regexes {
            assert_eq!(Pattern::parse(regex).unwrap().as_str(), named.name);
        }
    }
}

#[test]
fn scanners_agree_with_their_regexes_around_every_code_point() {
    for named in &NAMED {
        let pattern = Pattern::parse(named.name).unwrap();
        let regexes: Vec<Regex> = named.regexes.iter().map(|regex| Regex::new(regex).unwrap()).collect();
        for character in '\0'..=char::MAX {
            let c = character;
            let text = format!("a{c}b {c}A{c}{c}b'{c}S'{c}\r\n{c}/ \n {c}1{c}23'll{c}!{c}\n/{c}  {c}B{c}{c}1 {c}{c}");
            let found = ends(&pattern, Instructions::best(), &text, 0);
            assert_eq!(found, ends_by_regex(&regexes[0], &text, 0), "{} {character:?}", named.name);
            if character < '\u{3100}' {
                for regex in &regexes[1..] {
                    assert_eq!(found, ends_by_regex(regex, &text, 0), "{} {character:?}", named.name);
                }
            }
        }
    }
}

/// The characters at which the alternatives of the patterns meet.
const PIECES: &[&str] = &[
    "'",
    "'",
    "'",
    "s",
    "S",
    "D",
    "m",
    "T",
    "ll",
    "lL",
    "ve",
    "v",
    "RE",
    "e",
    "\u{17f}",
    "x",
    "X",
    "é",
    "É",
    "ß",
    "ǅ",
    "ʰ",
    "ʼ",
    "日",
    "本",
    "ㄱ",
    "0",
    "9",
    "123",
    "٣",
    "½",
    "Ⅷ",
    "𝟘",
    " ",
    " ",
    "  ",
    "\n",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "\u{b}",
    "\u{c}",
    "\u{1c}",
    "\u{85}",
    "\u{a0}",
    "\u{2003}",
    "\u{2028}",
    "\u{3000}",
    "\u{180e}",
    "\u{200b}",
    "\u{feff}",
    "/",
    "//",
    "!",
    ".",
    "_",
    "\0",
    "\u{301}",
    "\u{93e}",
    "\u{fe0f}",
    "👩\u{200d}💻",
    "🙂",
    "❤\u{fe0f}",
    "\u{212a}",
    "\u{d7ff}",
    "\u{e000}",
    "\u{fffd}",
    "\u{10ffff}",
    "𐐀",
    "𐐨",
    "䷀",
    "한",
];
/// What fills most of a block, so that the other pieces come to lie at its end.
const LONG_PIECES: &[&str] = &[
    "                                                            ",
    "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n",
    "111111111111111111111111111111111111111111111111111111111111",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJ",
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefgh",
    "日日日日日日日日日日日日日日日日日日日日",
    "................................................................",
    "\u{3000}\u{3000}\u{3000}\u{3000}\u{3000}\u{3000}\u{3000}\u{3000}\u{3000}\u{3000}\u{3000}\u{3000}\u{3000}\u{3000}\u{3000}",
];

fn adversarial_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        20 => prop::sample::select(PIECES),
        1 => prop::sample::select(LONG_PIECES),
    ];
    prop::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
}

fn assert_all_instructions_agree(text: &str, start: usize) {
    for named in &NAMED {
        let (pattern, regex) = (Pattern::parse(named.name).unwrap(), Regex::new(named.regexes[0]).unwrap());
        // A pretoken may be taken to start anywhere: nothing before it is looked at.
        for start in [0, text.ceil_char_boundary(start.min(text.len()))] {
            let expected = ends_by_regex(&regex, text, start);
            for instructions in Instructions::all() {
                let found = ends(&pattern, instructions, text, start);
                assert_eq!(found, expected, "{} {instructions:?} from {start} of {text:?}", named.name);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn scanners_agree_with_their_regexes_on_adversarial_text(text in adversarial_text(), start in 1_usize..64) {
        assert_all_instructions_agree(&text, start);
    }

    #[test]
    fn scanners_agree_with_their_regexes_on_few_characters(
        few in prop::collection::vec(prop::sample::select(PIECES), 1..5),
        choices in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
        start in 1_usize..64,
    ) {
        assert_all_instructions_agree(&choices.iter().map(|choice| *choice.get(&few)).collect::<String>(), start);
    }

    #[test]
    fn scanners_agree_with_their_regexes_on_any_text(text in any::<String>(), start in 1_usize..64) {
        assert_all_instructions_agree(&text, start);
    }
}

#[test]
fn runaway_backtracking_is_an_error() {
    let text = " ".repeat(2_000_000) + "x";
    let error = pretokens(r"\s+(?!\S)|(?:a+)+b|\S+", &text).unwrap_err().to_string();
    assert!(error.contains("less backtracking"), "{error}");
}

#[test]
fn a_bad_regex_is_named() {
    let error = pretokens("(", "").unwrap_err().to_string();
    assert!(error.contains("\"(\""), "{error}");
    assert!(pretokens("", "").is_err());
}
