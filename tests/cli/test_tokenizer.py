import io
import os
import sys

import numpy as np
import pytest

from cs336.tokenizer import Tokenizer, train_bpe, train_superbpe


@pytest.fixture
def tokenizer_file(cs336, text_file, tmp_path):
    assert cs336("tokenizer", "train", text_file, "--vocab-size", 300, "-o", tmp_path / "tok.json").code == 0
    return tmp_path / "tok.json"


def test_train_reports_what_came_out(cs336, text_file, tmp_path):
    out = tmp_path / "tok.json"
    result = cs336("tokenizer", "train", text_file, "--vocab-size", 280, "-o", out, "--json").json
    tokenizer = Tokenizer.load(out)
    assert result["vocab_size"] == tokenizer.vocab_size == 280
    assert result["num_merges"] == len(tokenizer.merges) == 23
    assert result["num_bytes"] == text_file.stat().st_size
    assert result["sha256"] == tokenizer.sha256
    assert tokenizer.special_tokens == {"<|endoftext|>": 279}


def test_train_takes_special_tokens_pattern_and_format(cs336, text_file, tmp_path):
    outcome = cs336(
        *("tokenizer", "train", text_file, text_file, "--vocab-size", 270, "--special-tokens", "<a>", "<b>"),
        *("--pattern", r"\S+|\s+", "--format", "gpt2", "--out", tmp_path / "gpt2", "--threads", 1),
    )
    assert outcome.code == 0, outcome.err
    assert {path.name for path in (tmp_path / "gpt2").iterdir()} == {"vocab.json", "merges.txt"}


def test_train_takes_the_options_of_training(cs336, text_file, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("zyx zyx zyx")
    options = ["--min-frequency", "3", "--max-token-length", "2", "--weights", "1", "5"]
    out = tmp_path / "t.json"
    assert cs336("tokenizer", "train", text_file, other, "--vocab-size", 300, "-o", out, *options).code == 0
    expected = train_bpe(
        [text_file, other], 300, ["<|endoftext|>"], min_frequency=3, max_token_length=2, weights=[1, 5]
    )
    tokenizer = Tokenizer.load(out)
    assert (tokenizer.vocab, tokenizer.merges) == expected
    assert max(map(len, tokenizer.ordinary_tokens())) == 2
    refused = cs336("tokenizer", "train", text_file, "--vocab-size", 300, "-o", out, "--weights", 1, 2)
    assert "weights must be as many as the files, got 2 for 1" in refused.err


def test_train_makes_superbpe(cs336, text_file, tmp_path):
    out = tmp_path / "t.json"
    sizes = ["--vocab-size", 400, "--transition-size", 300, "--max-token-words", 0]
    assert cs336("tokenizer", "train", text_file, "-o", out, *sizes).code == 0
    expected = train_superbpe(text_file, 400, ["<|endoftext|>"], transition_size=300, max_token_words=None)
    tokenizer = Tokenizer.load(out)
    assert (tokenizer.vocab, tokenizer.merges) == expected
    assert tokenizer.pattern == "superbpe"


def test_progress_goes_to_stderr_as_plain_lines(cs336, text_file, tmp_path):
    outcome = cs336("tokenizer", "train", text_file, "--vocab-size", 280, "-o", tmp_path / "tok.json", "--json")
    assert "merging pairs: 100%" in outcome.err
    assert "\x1b" not in outcome.err
    assert outcome.json


def test_encoding_and_decoding_a_file_gives_the_same_bytes(cs336, text_file, tokenizer_file, tmp_path):
    ids, back = tmp_path / "ids.npy", tmp_path / "back.txt"
    stats = cs336("tokenizer", "encode", text_file, "--tokenizer", tokenizer_file, "--out", ids, "--json").json
    assert stats["num_tokens"] == len(np.load(ids))
    assert stats["num_special_tokens"] == 20
    assert cs336("tokenizer", "decode", ids, "--tokenizer", tokenizer_file, "--out", back).code == 0
    assert back.read_bytes() == text_file.read_bytes()
    assert cs336("tokenizer", "decode", ids, "--tokenizer", tokenizer_file).out.encode() == text_file.read_bytes()


def test_short_texts_go_through_arguments_and_stdin(cs336, tokenizer_file, monkeypatch):
    tokenizer = Tokenizer.load(tokenizer_file)
    ids = tokenizer.encode("def größer")
    at = ("--tokenizer", tokenizer_file)
    assert cs336("tokenizer", "encode", *at, "--text", "def größer").out == " ".join(map(str, ids)) + "\n"
    assert cs336("tokenizer", "encode", *at, "--text", "def größer", "--json").json == {"ids": ids}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("def größer".encode()), encoding="utf-8"))
    assert cs336("tokenizer", "encode", *at, "--json").json == {"ids": ids}
    assert cs336("tokenizer", "decode", *at, "--ids", *ids).out == "def größer"
    monkeypatch.setattr(sys, "stdin", io.StringIO(" ".join(map(str, ids))))
    assert cs336("tokenizer", "decode", *at, "--json").json == {"text": "def größer"}


def refused(outcome, *words, code=1):
    assert outcome.code == code
    assert outcome.out == ""
    errors = [line for line in outcome.err.splitlines() if line.startswith("cs336: error: ")]
    assert len(errors) == 1
    assert "Traceback" not in outcome.err
    for word in words:
        assert str(word) in errors[0]


def test_bad_training_input_is_refused(cs336, text_file, tmp_path):
    out = tmp_path / "tok.json"

    def train(*arguments):
        return cs336("tokenizer", "train", *arguments, "-o", out)

    binary = tmp_path / "binary"
    binary.write_bytes(b"abc\xff\xfe")
    refused(train(tmp_path / "missing.txt", "--vocab-size", 300), "no such file", "missing.txt")
    (tmp_path / "empty").mkdir()
    refused(train(tmp_path / "empty", "--vocab-size", 300), tmp_path / "empty", "holds no file to read")
    refused(train(binary, "--vocab-size", 300), "binary", "UTF-8")
    refused(train(text_file, "--vocab-size", 100), "100", "257")
    refused(train(text_file, "--vocab-size", 300, "--special-tokens", "a", "a"), "twice")
    refused(train(text_file, "--vocab-size", 300, "--special-tokens", ""), "empty")
    refused(train(text_file, "--vocab-size", 300, "--pattern", "(("), "((")
    refused(train("--vocab-size", 300), "at least one text file", code=2)
    assert not out.exists()
    unreachable = cs336("tokenizer", "train", text_file, "--vocab-size", 300, "-o", tmp_path / "no" / "tok.json")
    refused(unreachable, "no such directory", tmp_path / "no")


def test_an_empty_file_gives_a_tokenizer_of_bytes(cs336, tmp_path):
    (tmp_path / "empty.txt").touch()
    result = cs336(
        "tokenizer", "train", tmp_path / "empty.txt", "--vocab-size", 300, "-o", tmp_path / "t.json", "--json"
    )
    assert result.json["vocab_size"] == 257


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(cs336, text_file, tmp_path):
    text_file.chmod(0)
    refused(cs336("tokenizer", "train", text_file, "--vocab-size", 300, "-o", tmp_path / "t.json"), "permission denied")


def test_bad_encoding_input_is_refused(cs336, text_file, tokenizer_file, tmp_path, monkeypatch):
    out = tmp_path / "ids.npy"

    def encode(source, tokenizer=tokenizer_file):
        return cs336("tokenizer", "encode", source, "--tokenizer", tokenizer, "--out", out)

    binary, malformed = tmp_path / "binary", tmp_path / "malformed.json"
    binary.write_bytes(b"abc\xff\xfe")
    malformed.write_text('{"model": {')
    refused(encode(tmp_path / "missing"), "no such file", "missing")
    refused(encode(binary), "binary", "UTF-8")
    refused(encode(text_file, tmp_path / "none.json"), "none.json")
    refused(encode(text_file, malformed), "malformed.json")
    assert not out.exists()
    at = ("--tokenizer", tokenizer_file)
    refused(cs336("tokenizer", "encode", text_file, *at), "--out", code=2)
    refused(cs336("tokenizer", "encode", *at, "--out", out, "--text", "a"), "--out", code=2)
    refused(cs336("tokenizer", "encode", *at, "--threads", 0, "--text", "a"), "num_threads must be at least 1")
    refused(cs336("tokenizer", "encode", *at, "--threads", 2**70, "--text", "a"), "too large")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"abc\xff\xfe")))
    refused(cs336("tokenizer", "encode", *at), "stdin is not UTF-8", "0xff", "position 3")


def test_bad_decoding_input_is_refused(cs336, tokenizer_file, tmp_path, monkeypatch):
    at = ("--tokenizer", tokenizer_file)
    np.save(tmp_path / "floats.npy", np.zeros(3))
    (tmp_path / "junk.npy").write_bytes(b"junk")
    (tmp_path / "header.npy").write_bytes(b"\x93NUMPY\x01\x00\x06\x00((((((")
    refused(cs336("tokenizer", "decode", *at, "--ids", 99999), "99999")
    refused(cs336("tokenizer", "decode", tmp_path / "floats.npy", *at), "floats.npy", "whole numbers")
    refused(cs336("tokenizer", "decode", tmp_path / "junk.npy", *at), "junk.npy")
    refused(cs336("tokenizer", "decode", tmp_path / "header.npy", *at), "header.npy is not a whole .npy file")
    refused(cs336("tokenizer", "decode", tmp_path / "gone.npy", *at), "gone.npy")
    refused(cs336("tokenizer", "decode", tmp_path / "junk.npy", *at, "--ids", 1), "not both", code=2)
    monkeypatch.setattr(sys, "stdin", io.StringIO("1 2 three"))
    refused(cs336("tokenizer", "decode", *at), "'three'")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_one_line(cs336, text_file, tokenizer_file, tmp_path):
    """No disk to fill: a limit on the size of files fails a write in the same place."""
    import resource

    ids = tmp_path / "ids.npy"
    np.save(ids, np.full(100_001, 65, np.uint8))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        outcome = cs336("tokenizer", "decode", ids, "--tokenizer", tokenizer_file, "--out", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    refused(outcome, "file too large", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {text_file.name, tokenizer_file.name, ids.name}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes that have a name")
def test_devices_and_links_stay_what_they_are(cs336, tokenizer_file, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    decode = ("tokenizer", "decode", "--tokenizer", tokenizer_file, "--ids", 65, "--out")
    refused(cs336(*decode, tmp_path / "pipe"), "pipe is a device or a pipe")
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "file").write_bytes(b"old")
    assert cs336(*decode, tmp_path / "link").code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"A"
