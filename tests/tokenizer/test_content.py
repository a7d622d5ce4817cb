"""A tokenizer's canonical bytes: made in Rust as the definition in Python makes them."""

import pytest

from cs336.tokenizer import Tokenizer, train_bpe
from cs336.tokenizer.content import Content, pack, unpack


@pytest.mark.parametrize("ignore_merges", [False, True])
def test_they_are_those_of_the_definition(ignore_merges):
    specials = ["<|z|>", "<|endoftext|>", "a"]
    vocab, merges = train_bpe(iter(["the cat's naïve 日本 the cat 1234 🙂 " * 20]), 300, specials)
    vocab = {4 * number if number > 270 else number: token for number, token in vocab.items()}  # with gaps
    tokenizer = Tokenizer(vocab, merges, specials, ignore_merges=ignore_merges)
    content = Content(
        tokenizer.vocab, tokenizer.merges, list(tokenizer.special_tokens), tokenizer.pattern_regex, ignore_merges
    )
    assert tokenizer._packed() == pack(content)
    again = unpack(pack(content))
    assert (again.vocab, again.merges, again.pattern) == (tokenizer.vocab, tokenizer.merges, tokenizer.pattern_regex)
    assert Tokenizer._from_packed(pack(content)) == tokenizer
