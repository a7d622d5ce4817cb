//! Speed of encoding on one thread, without Python: `encode_speed tokenizer.json text.txt [rounds]`.
//!
//! Each round loads the tokenizer anew and encodes the text twice: the first pass finds empty caches, the second warm
//! ones. Of several rounds the fastest is reported, as on a machine with other work only the best tells of the code.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bpe::{Control, files};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, tokenizer_path, text_path, rest @ ..] = &arguments[..] else {
        return Err("expected tokenizer.json, a text and perhaps the number of rounds".into());
    };
    let num_rounds: usize = rest.first().map_or(Ok(5), |rounds| rounds.parse())?;
    let text = fs::read_to_string(text_path)?;
    let mut fastest = [Duration::MAX; 3];
    let mut num_ids = 0;
    for _ in 0..num_rounds {
        let start = Instant::now();
        let tokenizer = files::hf::read(Path::new(tokenizer_path), None)?.build()?;
        fastest[0] = fastest[0].min(start.elapsed());
        for pass in 1..=2 {
            let start = Instant::now();
            num_ids = tokenizer.encode(&text, 1, &Control::new())?.len();
            fastest[pass] = fastest[pass].min(start.elapsed());
        }
    }
    let [load, first, again] = fastest.map(|time| time.as_secs_f64());
    let speed = |time: f64| text.len() as f64 / 1e6 / time;
    println!(
        "{} bytes, {num_ids} ids: load {:.1} ms, first pass {:.0} MB/s, again {:.0} MB/s",
        text.len(),
        load * 1e3,
        speed(first),
        speed(again)
    );
    Ok(())
}
