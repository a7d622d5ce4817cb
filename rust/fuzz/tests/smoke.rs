//! Some thousand runs of each entry, in seconds. `make fuzz` searches for longer, and looks where the code branches.

use bpe_fuzz::{Mutator, encode, loader_seeds, loaders, scanners};

const LONGEST: usize = 300;

#[test]
fn scanners_agree_with_their_regular_expressions() {
    let mut mutator = Mutator::new(1);
    for _ in 0..1_000 {
        scanners(&mutator.bytes(LONGEST));
    }
}

#[test]
fn encoding_in_every_way_gives_the_ids_of_the_definition() {
    let mut mutator = Mutator::new(2);
    for _ in 0..1_000 {
        encode(&mutator.bytes(LONGEST));
    }
}

#[test]
fn damaged_files_are_an_error_or_a_tokenizer() {
    let mut mutator = Mutator::new(3);
    for seed in loader_seeds() {
        loaders(&seed);
        for _ in 0..200 {
            loaders(&mutator.damaged(&seed));
        }
    }
    for _ in 0..200 {
        loaders(&mutator.bytes(LONGEST));
    }
}
