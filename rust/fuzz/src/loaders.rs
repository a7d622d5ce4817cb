//! Files of tokenizers, damaged: an error or a tokenizer that works, never a panic.

use std::fs;
use std::path::Path;

use bpe::files::{Contents, gpt2, hf, tiktoken};
use bpe::{Control, Pattern, Tokenizer, TrainOptions, Trainer};

const TEXT: &str = "The quick brown fox's 12 jumps <|e|> over\n\n  lazy dogs. été 日本 🙂";
const SPECIAL: &str = "<|e|>";

/// The first byte says which format the others are. GPT-2's two files are one, divided at the first zero byte.
pub fn loaders(bytes: &[u8]) {
    let Some((format, content)) = bytes.split_first() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let Ok(contents) = read(*format, content, folder.path()) else { return };
    let Ok(tokenizer) = contents.build() else { return };
    let Ok(ids) = tokenizer.encode(TEXT, 1, &Control::new()) else { return }; // its pattern may backtrack
    assert_eq!(tokenizer.decode_bytes(&ids).expect("these are its ids"), TEXT.as_bytes());
    let path = folder.path().join("again.json");
    if hf::write(&tokenizer, &path).is_ok() {
        let again = hf::read(&path, None).and_then(Contents::build).expect("what was written can be read");
        assert_eq!(again.encode(TEXT, 1, &Control::new()).expect("as before"), ids);
    }
}

fn read(format: u8, content: &[u8], folder: &Path) -> bpe::Result<Contents> {
    let path = folder.join("file");
    match format % 3 {
        0 => {
            fs::write(&path, content).expect("there is space");
            hf::read(&path, None)
        }
        1 => {
            fs::write(&path, content).expect("there is space");
            tiktoken::read(&path, &Control::new()).map(with_pattern)
        }
        _ => {
            let divided = content.iter().position(|&byte| byte == 0).unwrap_or(content.len());
            let merges = folder.join("merges");
            fs::write(&path, &content[..divided]).expect("there is space");
            fs::write(&merges, content.get(divided + 1..).unwrap_or_default()).expect("there is space");
            gpt2::read(&path, &merges, &[SPECIAL.to_owned()]).map(with_pattern)
        }
    }
}

/// These formats do not tell.
fn with_pattern(contents: Contents) -> Contents {
    Contents { pattern: Some(Pattern::parse("gpt2").expect("it is a name")), ..contents }
}

/// Sound files of each format, as [`loaders`] takes them.
pub fn seeds() -> Vec<Vec<u8>> {
    let options = TrainOptions { vocab_size: 280, special_tokens: vec![SPECIAL.to_owned()], ..TrainOptions::default() };
    let mut trainer = Trainer::new(options).expect("these options are right");
    trainer.count_texts(&[TEXT], 1, &Control::new()).expect("the text is short");
    let trained = trainer.finish(&Control::new()).expect("nothing is in its way");
    let pattern = |name| Pattern::parse(name).expect("it is a name");
    let make = |name| {
        Tokenizer::new(trained.vocab.clone(), trained.merges.clone(), &[SPECIAL.to_owned()], pattern(name))
            .expect("it was trained")
    };

    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = |name: &str| folder.path().join(name);
    let content = |name: &str| fs::read(file(name)).expect("it was written");
    hf::write(&make("gpt2"), &file("gpt2.json")).expect("there is space");
    hf::write(&make("cl100k"), &file("cl100k.json")).expect("there is space");
    tiktoken::write(&make("gpt2"), &file("ranks"), &Control::new()).expect("there is space");
    gpt2::write(&make("gpt2"), &file("vocab"), &file("merges")).expect("there is space");
    let both = [content("vocab"), vec![0], content("merges")].concat();
    [(0, content("gpt2.json")), (0, content("cl100k.json")), (1, content("ranks")), (2, both)]
        .map(|(format, content)| [vec![format], content].concat())
        .to_vec()
}
