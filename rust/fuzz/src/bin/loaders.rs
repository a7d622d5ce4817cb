#![no_main]
#![allow(missing_docs, reason = "the entry is documented where it is defined")]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bpe_fuzz::loaders(bytes));
