//! The hand-written scanners against the regular expressions that they stand for.

use bpe::{Control, Pattern, Tokenizer, TrainOptions, Trained, Trainer};

use crate::source::Source;

const NAMES: [&str; 6] = ["gpt2", "cl100k", "llama3", "qwen2", "o200k", "superbpe"];
const NUM_MERGES: usize = 64;

/// A vocabulary is trained on the text by the name of a pattern and by its regular expression: other pretokens give
/// other merges. Then the text is encoded with both, whole and in pieces.
pub fn scanners(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let named = Pattern::parse(source.one_of(&NAMES)).expect("it is a name");
    // A group around it, so that it is not taken for the named one.
    let regex = Pattern::parse(&format!("(?:{})", named.regex())).expect("so it was");
    let piece_size = source.below(40) + 1;
    let text = source.text();

    let (Some(trained), Some(expected)) = (train(&named, &text), train(&regex, &text)) else { return };
    assert_eq!(trained.merges, expected.merges, "{} on {text:?}", named.as_str());
    assert_eq!(trained.num_pretokens, expected.num_pretokens, "{} on {text:?}", named.as_str());

    let control = Control::new();
    let by_name = Tokenizer::new(trained.vocab.clone(), trained.merges.clone(), &[], named).expect("it was trained");
    let by_regex = Tokenizer::new(trained.vocab, trained.merges, &[], regex).expect("it was trained");
    let ids = by_name.encode(&text, 1, &control).expect("a scanner takes any text");
    if let Ok(expected) = by_regex.encode(&text, 1, &control) {
        assert_eq!(ids, expected, "{} on {text:?}", by_name.pattern().as_str());
    }
    assert_eq!(by_name.decode_bytes(&ids).expect("these are its ids"), text.as_bytes());
    assert_eq!(crate::encode::streamed(&by_name, &text, piece_size), ids, "in pieces of {piece_size}: {text:?}");
}

/// `None` if the regular expression backtracks too much on this text.
fn train(pattern: &Pattern, text: &str) -> Option<Trained> {
    let options = TrainOptions { vocab_size: 256 + NUM_MERGES, pattern: pattern.clone(), ..TrainOptions::default() };
    let mut trainer = Trainer::new(options).expect("these options are right");
    trainer.count_texts(&[text], 1, &Control::new()).ok()?;
    Some(trainer.finish(&Control::new()).expect("nothing is in its way"))
}
