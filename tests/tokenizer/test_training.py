import os
from pathlib import Path

import pytest

from cs336.tokenizer import train_bpe
from cs336.tokenizer.training import BATCH_CHARACTERS

EOT = "<|endoftext|>"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_ties_break_towards_greater_bytes():
    _, merges = train_bpe(iter(["AB", "AC", "BZZ"]), 256 + 1, pattern=r"\w+")
    assert merges == [(b"Z", b"Z")]
    _, merges = train_bpe(iter(["é a", "ÿb"]), 256 + 1, pattern=r"\w+")
    assert merges == [(b"\xc3", b"\xbf")]  # by bytes: 0xBF > 0xA9; nothing follows from GPT-2's printable letters
    # The pairs (b"a", b"ab") and (b"x", b"y") are compared part by part.
    _, merges = train_bpe(iter(["aab aab xy xy"]), 256 + 3, pattern=r"\w+")
    assert merges == [(b"x", b"y"), (b"a", b"b"), (b"a", b"ab")]


def test_ids_are_the_bytes_then_the_merges_then_the_specials(corpus):
    specials = [EOT, "<pad>"]
    vocab, merges = train_bpe(iter([corpus]), 300, specials)
    assert list(vocab) == list(range(300))
    assert [vocab[i] for i in range(256)] == [bytes([i]) for i in range(256)]
    assert [vocab[256 + i] for i in range(42)] == [a + b for a, b in merges]
    assert [vocab[298], vocab[299]] == [b"<|endoftext|>", b"<pad>"]


def test_specials_are_boundaries_and_never_counted():
    vocab, merges = train_bpe(iter([f"ab{EOT}cd{EOT}ab{EOT}" * 3]), 300, [EOT])
    assert merges == [(b"a", b"b"), (b"c", b"d")]
    assert vocab[258] == EOT.encode()


def test_overlapping_specials_match_the_longest():
    _, merges = train_bpe(iter(["xy<a><a>xy"]), 300, ["<a>", "<a><a>", "a><"])
    assert merges == [(b"x", b"y")]


def test_an_empty_corpus_gives_the_bytes_and_the_specials(tmp_path):
    expected = {**{i: bytes([i]) for i in range(256)}, 256: b"<s>"}
    for source in (write(tmp_path / "empty", ""), iter([]), iter([""]), iter(["<s>"])):
        assert train_bpe(source, 1000, ["<s>"]) == (expected, [])


def test_fewer_pairs_than_asked_give_a_smaller_vocabulary():
    vocab, merges = train_bpe(iter(["abc"]), 1000, ["<s>"])
    assert merges == [(b"b", b"c"), (b"a", b"bc")]
    assert len(vocab) == 259
    assert vocab[258] == b"<s>"


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_files_texts_and_threads_give_the_same_vocabulary(tmp_path, corpus, num_threads):
    documents = [corpus * n for n in (1, 7, 40)]
    expected = train_bpe(iter(documents), 500, [EOT], num_threads=1)
    paths = [write(tmp_path / f"{i}.txt", text) for i, text in enumerate(documents)]
    assert train_bpe(paths, 500, [EOT], num_threads=num_threads) == expected
    assert train_bpe([str(path) for path in reversed(paths)], 500, [EOT], num_threads=num_threads) == expected
    assert train_bpe((text for text in documents), 500, [EOT], num_threads=num_threads) == expected
    together = write(tmp_path / "all.txt", EOT.join(documents))
    assert train_bpe(str(together), 500, [EOT], num_threads=num_threads) == expected


def test_texts_are_counted_each_for_itself():
    _, merges = train_bpe(iter(["a", "b"] * 10), 300)
    assert merges == []


def test_many_small_texts_are_batched(monkeypatch, corpus):
    monkeypatch.setattr("cs336.tokenizer.training.BATCH_CHARACTERS", 1000)
    assert BATCH_CHARACTERS > 1_000_000
    assert train_bpe(iter([corpus] * 9), 400) == train_bpe(iter([corpus * 9]), 400)


def test_progress_tells_the_stages(tmp_path, corpus):
    calls = []
    paths = [write(tmp_path / name, corpus) for name in "ab"]
    train_bpe(paths, 300, progress=lambda *call: calls.append(call))
    size = len(corpus.encode())
    assert ("count", size, 2 * size) in calls
    assert ("count", 2 * size, 2 * size) in calls
    assert calls[-1] == ("merge", 44, 44)
    calls.clear()
    train_bpe(iter([corpus]), 300, progress=lambda *call: calls.append(call))
    assert ("count", len(corpus), 0) in calls


def test_an_exception_of_the_progress_callback_stops_the_training(tmp_path, corpus):
    def stop(stage, done, total):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        train_bpe(write(tmp_path / "a", corpus), 300, progress=stop)


def test_vocab_size_too_small_names_the_least():
    with pytest.raises(ValueError, match=r"vocab_size must be at least 258 .* got 257"):
        train_bpe(iter([]), 257, ["<a>", "<b>"])
    with pytest.raises(ValueError, match="-1"):
        train_bpe(iter([]), -1)
    assert len(train_bpe(iter(["abc"]), 258, ["<a>", "<b>"])[0]) == 258


@pytest.mark.parametrize(
    ("specials", "message"),
    [(["<a>", "<a>"], "'?\"?<a>.*twice"), (["<a>", ""], "empty"), (["\ud800"], "surrogate")],
)
def test_bad_specials_are_value_errors(specials, message):
    with pytest.raises(ValueError, match=message):
        train_bpe(iter([]), 300, specials)


def test_specials_must_be_a_list_of_str():
    with pytest.raises(TypeError, match="special_tokens must be a list of str, got a single str"):
        train_bpe(iter([]), 300, EOT)
    with pytest.raises(TypeError, match="special_tokens must hold str, got bytes at index 1"):
        train_bpe(iter([]), 300, ["a", b"b"])


def test_a_bad_pattern_is_a_value_error():
    with pytest.raises(ValueError, match=r'"\(" is neither "gpt2", .* nor a valid regular expression'):
        train_bpe(iter([]), 300, pattern="(")


def test_invalid_utf8_names_the_offset(tmp_path):
    path = write(tmp_path / "latin1.txt", "fünf ".encode() * 100 + b"\xfcnf")
    with pytest.raises(ValueError, match=r"latin1\.txt: invalid UTF-8 at byte 600 \(0xFC\)"):
        train_bpe(path, 300)
    with pytest.raises(ValueError, match="byte 1000000"):
        train_bpe(write(path, b"a" * 1_000_000 + b"\xff" + b" b" * 3_000_000), 300)


def test_file_trouble_is_the_os_error_python_would_raise(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        train_bpe(tmp_path / "missing.txt", 300)
    assert caught.value.filename == str(tmp_path / "missing.txt")
    with pytest.raises(ValueError, match="holds no file to read"):
        train_bpe(tmp_path, 300)
    unreadable = write(tmp_path / "secret", "a")
    unreadable.chmod(0)
    if not os.access(unreadable, os.R_OK):  # root may read everything
        with pytest.raises(PermissionError):
            train_bpe(unreadable, 300)


def test_a_list_of_texts_is_not_taken_for_paths():
    with pytest.raises(FileNotFoundError, match=r"pass iter\(texts\)"):
        train_bpe(["Once upon a time", "there was a list. " * 1000], 300)
    with pytest.raises(ValueError, match="list of input files is empty"):
        train_bpe([], 300)
    with pytest.raises(TypeError, match="must hold paths, got int"):
        train_bpe([3], 300)


def test_an_open_file_is_refused_rather_than_trained_on_line_by_line(tmp_path):
    with (
        write(tmp_path / "a", "a\nb\n").open(encoding="utf-8") as file,
        pytest.raises(TypeError, match="pass its path"),
    ):
        train_bpe(file, 300)


def test_something_else_than_a_text_is_named():
    with pytest.raises(TypeError, match="got bytes at index 2"):
        train_bpe(iter(["a", "b", b"c"]), 300)
    with pytest.raises(TypeError, match="not iterable"):
        train_bpe(3, 300)


def test_an_exception_of_the_iterator_comes_through():
    def texts():
        yield "a"
        raise KeyError("source")

    with pytest.raises(KeyError, match="source"):
        train_bpe(texts(), 300)


def test_num_threads_must_be_positive():
    for num_threads in (0, -3):
        with pytest.raises(ValueError, match=f"num_threads must be at least 1 .* got {num_threads}"):
            train_bpe(iter([]), 300, num_threads=num_threads)


def test_pairs_below_min_frequency_are_not_merged():
    text = "abab cdcd cd ef"  # " " and "c": 2
    _, merges = train_bpe(iter([text]), 300, min_frequency=2)
    assert merges == [(b"c", b"d"), (b"a", b"b"), (b" ", b"cd")]
    assert train_bpe(iter([text]), 300, min_frequency=3)[1] == [(b"c", b"d")]
    assert train_bpe(iter([text]), 300, min_frequency=4)[1] == []
    for limit in (0, -1):
        with pytest.raises(ValueError, match=f"min_frequency must be at least 1, got {limit}"):
            train_bpe(iter([text]), 300, min_frequency=limit)


def test_no_token_is_longer_than_max_token_length():
    vocab, merges = train_bpe(iter(["abcdefgh" * 9]), 300, max_token_length=3)
    assert max(map(len, vocab.values())) == 3
    assert merges
    assert train_bpe(iter(["abcdefgh" * 9]), 300, max_token_length=1)[1] == []
    with pytest.raises(ValueError, match="max_token_length must be at least 1, got 0"):
        train_bpe(iter([]), 300, max_token_length=0)


def test_a_weight_counts_a_file_as_often(tmp_path, corpus):
    paths = [write(tmp_path / "a", corpus), write(tmp_path / "b", "the low road " * 20), write(tmp_path / "c", "xyz")]
    copies = [path for path, weight in zip(paths, [1, 3, 2], strict=True) for _ in range(weight)]
    assert train_bpe(paths, 400, [EOT], weights=[1, 3, 2]) == train_bpe(copies, 400, [EOT])
    assert train_bpe(paths[0], 400, [EOT], weights=[5]) == train_bpe([paths[0]] * 5, 400, [EOT])


def test_counts_beyond_32_bits_are_exact(tmp_path):
    paths = [write(tmp_path / str(index), text) for index, text in enumerate(["ab", "cd", "xy", "ab"])]
    for big in (1 << 31, 1 << 32, 1 << 40):
        _, merges = train_bpe(paths, 300, weights=[big - 1, big, 1, 2])
        assert merges == [(b"a", b"b"), (b"c", b"d"), (b"x", b"y")]
    with pytest.raises(ValueError, match="divide all weights"):
        train_bpe(paths, 300, weights=[1 << 62, 1 << 62, 1 << 62, 1 << 62])


def test_bad_weights_are_named(tmp_path, corpus):
    paths = [write(tmp_path / "a", corpus), write(tmp_path / "b", corpus)]
    with pytest.raises(ValueError, match="as many as the files, got 1 for 2"):
        train_bpe(paths, 300, weights=[1])
    with pytest.raises(ValueError, match="weights must be at least 1, got 0 at index 1"):
        train_bpe(paths, 300, weights=[1, 0])
    with pytest.raises(TypeError, match="weights must hold int, got float at index 0"):
        train_bpe(paths, 300, weights=[0.5, 1])
    with pytest.raises(ValueError, match="weights are for a list of paths"):
        train_bpe(iter([corpus]), 300, weights=[1])


def test_numbers_too_large_are_value_errors_or_no_limit(tmp_path, corpus):
    with pytest.raises(ValueError, match=f"vocab_size must fit into 64 bits, got {2**70}"):
        train_bpe(iter([corpus]), 2**70)
    with pytest.raises(TypeError, match="vocab_size must be an integer, got str"):
        train_bpe(iter([corpus]), "300")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"max_token_length must fit into 64 bits, got {2**70}"):
        train_bpe(iter([corpus]), 300, max_token_length=2**70)
    assert train_bpe(iter([corpus]), 300, min_frequency=2**70)[1] == []
    (tmp_path / "text").write_text(corpus)
    with pytest.raises(ValueError, match=r"weights must be at most 2\*\*63 - 1"):
        train_bpe([tmp_path / "text"], 300, weights=[2**63])
