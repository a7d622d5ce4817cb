//! Speed of encoding on one thread, without Python: `encode_speed tokenizer.json text.txt [rounds]`.
//!
//! Each round loads the tokenizer anew and encodes the text twice: the first pass finds empty caches, the second warm
//! ones. Of several rounds the fastest is reported, as on a machine with other work only the best tells of the code.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use bpe::{Control, files};

/// Seconds.
struct Fastest {
    load: f64,
    first: f64,
    again: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, tokenizer_path, text_path, rest @ ..] = &arguments[..] else {
        return Err("expected tokenizer.json, a text and perhaps the number of rounds".into());
    };
    let num_rounds: usize = rest.first().map_or(Ok(5), |rounds| rounds.parse())?;
    let text = fs::read_to_string(text_path)?;
    let mut fastest = Fastest { load: f64::INFINITY, first: f64::INFINITY, again: f64::INFINITY };
    let mut num_ids = 0;
    for _ in 0..num_rounds {
        let start = Instant::now();
        let tokenizer = files::hf::read(Path::new(tokenizer_path), None)?.build()?;
        fastest.load = fastest.load.min(start.elapsed().as_secs_f64());
        for fastest in [&mut fastest.first, &mut fastest.again] {
            let start = Instant::now();
            num_ids = tokenizer.encode(&text, 1, &Control::new())?.len();
            *fastest = fastest.min(start.elapsed().as_secs_f64());
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "a text is smaller than 2^52 bytes")]
    let megabytes = text.len() as f64 / 1e6;
    println!(
        "{} bytes, {num_ids} ids: load {:.1} ms, first pass {:.0} MB/s, again {:.0} MB/s",
        text.len(),
        fastest.load * 1e3,
        megabytes / fastest.first,
        megabytes / fastest.again
    );
    Ok(())
}
