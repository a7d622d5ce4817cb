"""A tiny corpus, made of words that follow one another by rule, so that even a tiny model learns something."""

import random

import pytest

from cs336.tokenizer import Tokenizer, train_bpe

EOS = "<|endoftext|>"
TINY = """
title = "Tiny"
question = "Which rate?"
seeds = [0, 1]

[train]
steps = 6
batch_size = 4
eval_every = 3
checkpoint_every = 3
log_every = 1
device = "cpu"
precision = "fp32"
num_threads = 1

[train.model]
vocab_size = 300
context_length = 8
d_model = 16
num_layers = 1
num_heads = 2
d_ff = 32
"""


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A directory as `cs336 experiments prepare` writes it."""
    folder = tmp_path_factory.mktemp("data")
    words = ["one", "two", "three", "four", "five", "six", "seven"]
    generator = random.Random(0)
    for name, count in (("train", 200), ("valid", 20)):
        starts = [generator.randrange(7) for _ in range(count)]
        text = "".join(" ".join(words[(start + i) % 7] for i in range(12)) + EOS for start in starts)
        (folder / f"{name}.txt").write_text(text)
    vocab, merges = train_bpe(folder / "train.txt", 280, [EOS])
    tokenizer = Tokenizer(vocab, merges, [EOS])
    tokenizer.save(folder / "tokenizer.json")
    for name in ("train", "valid"):
        tokenizer.encode_file(folder / f"{name}.txt", folder / f"{name}.npy")
    return folder


@pytest.fixture(scope="session")
def tiny_text():
    """The tiny recipe as text."""
    return TINY


@pytest.fixture
def tiny_recipe(tmp_path):
    """Write a recipe on top of the tiny one and return its path."""

    def write(more="", name="tiny"):
        path = tmp_path / f"{name}.toml"
        path.write_text(TINY + more)
        return path

    return write
