//! Whether each scanner finds the pretokens that its regular expression finds: `scanners_agree text.txt ...`.
//!
//! The regular expression is given in brackets, which no named pattern is, so that the engine of regular expressions runs
//! it. A text goes through it four megabytes at a time, each by itself. For all of real corpora, where the tests have
//! parts of them and random text.

use std::error::Error;
use std::fs;

use bpe::Pattern;

const PART_BYTES: usize = 4_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    for path in std::env::args().skip(1) {
        let text = fs::read_to_string(&path)?;
        for name in ["gpt2", "cl100k", "llama3", "qwen2", "o200k", "superbpe"] {
            let scanner = Pattern::parse(name)?;
            let regex = Pattern::parse(&format!("(?:{})", scanner.regex()))?;
            let (mut start, mut num_pretokens) = (0, 0);
            while start < text.len() {
                let limit = text.len().min(start + PART_BYTES);
                let end = (limit..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
                let part = &text[start..end];
                let found = ends(&scanner, part)?;
                if found != ends(&regex, part)? {
                    return Err(format!("{path}: {name} differs between bytes {start} and {end}").into());
                }
                num_pretokens += found.len();
                start = end;
            }
            println!("{path}, {name}: the same {num_pretokens} pretokens");
        }
    }
    Ok(())
}

fn ends(pattern: &Pattern, text: &str) -> bpe::Result<Vec<usize>> {
    let mut ends = Vec::new();
    pattern.for_each_pretoken(text, |pretoken| {
        ends.push(pretoken.end);
        Ok(())
    })?;
    Ok(ends)
}
