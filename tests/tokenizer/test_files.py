import json
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs336.tokenizer import EncodeStats, Tokenizer, reference

EOT = "<|endoftext|>"
BYTES = {i: bytes([i]) for i in range(256)}


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(
    params=[
        ([EOT], "gpt2"),
        ([], "gpt2"),
        (["b", "<é>", "日 本", EOT], r"\p{L}+|\s|[^\p{L}\s]+"),
    ]
)
def tokenizer(request, corpus) -> Tokenizer:
    specials, pattern = request.param
    regex = reference.GPT2_PATTERN if pattern == "gpt2" else pattern
    vocab, merges = reference.train_bpe([corpus], 300, [t for t in specials if t != EOT], pattern=regex)
    return Tokenizer(vocab, merges, specials, pattern=pattern)


@pytest.mark.usefixtures("no_warnings")
class TestTokenizerJson:
    def test_loading_gives_the_tokenizer_that_was_saved(self, tokenizer, tmp_path, corpus):
        tokenizer.save(tmp_path / "tokenizer.json")
        for path in (tmp_path / "tokenizer.json", str(tmp_path)):
            loaded = Tokenizer.load(path)
            assert loaded == tokenizer
            assert loaded.special_tokens == tokenizer.special_tokens
            assert loaded.encode(corpus) == tokenizer.encode(corpus)

    def test_a_directory_gets_a_file_of_the_usual_name(self, small, tmp_path):
        small.save(tmp_path)
        assert Tokenizer.load(tmp_path / "tokenizer.json") == small
        assert names(tmp_path) == ["tokenizer.json"]

    def test_saving_replaces_the_file_as_a_whole(self, small, tmp_path):
        path = tmp_path / "t.json"
        path.write_text("something else")
        small.save(path)
        assert Tokenizer.load(path) == small
        assert names(tmp_path) == ["t.json"]

    def test_the_pattern_can_be_replaced(self, small, tmp_path):
        small.save(tmp_path)
        assert Tokenizer.load(tmp_path, pattern=r"\S+|\s+").pattern == r"\S+|\s+"

    def test_hugging_face_reads_it_and_gives_the_same_ids(self, tokenizer, tmp_path, corpus):
        tokenizers = pytest.importorskip("tokenizers")
        tokenizer.save(tmp_path / "tokenizer.json")
        theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        assert theirs.encode(corpus).ids == tokenizer.encode(corpus)
        assert theirs.decode(tokenizer.encode(corpus), skip_special_tokens=False) == corpus
        assert theirs.get_vocab_size() == tokenizer.vocab_size

    def test_what_hugging_face_writes_is_read_alike(self, tmp_path, corpus):
        tokenizers = pytest.importorskip("tokenizers")
        theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
        theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=[EOT],
            show_progress=False,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        )
        theirs.train_from_iterator([corpus], trainer)
        theirs.save(str(tmp_path / "theirs.json"))
        ours = Tokenizer.load(tmp_path / "theirs.json")
        assert ours.special_tokens == {EOT: 0}
        assert ours.encode(corpus) == theirs.encode(corpus).ids

    def test_a_special_spelt_like_another_token_is_refused(self, tmp_path):
        # In GPT-2's alphabet, which the format uses, "Ġ" spells a space.
        tokenizer = Tokenizer(BYTES, [], ["Ġ"])
        for format_ in ("tokenizer.json", "gpt2"):
            with pytest.raises(ValueError, match='ids 32 and 256 would both be written "Ġ"'):
                tokenizer.save(tmp_path, format=format_)
        assert names(tmp_path) == []

    def test_a_special_of_one_byte_survives(self, tmp_path):
        tokenizer = Tokenizer(BYTES, [], [" ", "b"])
        tokenizer.save(tmp_path)
        assert Tokenizer.load(tmp_path) == tokenizer

    @pytest.mark.parametrize(
        ("edit", "message"),
        [
            (lambda d: d["model"].pop("vocab"), "model.vocab is missing"),
            (lambda d: d["model"].update(type="WordPiece"), "model.type"),
            (lambda d: d["model"].update(dropout=0.1), "model.dropout"),
            (lambda d: d["model"]["merges"].append("abc"), "merge"),
            (lambda d: d["model"]["merges"].append(["q", "€"]), "merge"),
            (lambda d: d["model"]["vocab"].update(x=-1), '"x" has id -1'),
            (lambda d: d.update(normalizer={"type": "NFC"}), "normalizer"),
            (lambda d: d.update(pre_tokenizer={"type": "Whitespace"}), "pre_tokenizer"),
            (lambda d: d["added_tokens"].append({"id": 1, "content": "a", "lstrip": True}), "lstrip"),
        ],
    )
    def test_what_cannot_be_done_is_refused_by_name(self, small, tmp_path, edit, message):
        path = tmp_path / "t.json"
        small.save(path)
        contents = json.loads(path.read_text(encoding="utf-8"))
        edit(contents)
        path.write_text(json.dumps(contents), encoding="utf-8")
        with pytest.raises(ValueError, match=rf"t\.json: .*{message}"):
            Tokenizer.load(path)

    @pytest.mark.parametrize("contents", [b"", b"{", b"[]", b"\xff", b"null", b'{"model": 3}', b"[" * 100_000])
    def test_garbage_is_a_value_error(self, tmp_path, contents):
        path = tmp_path / "t.json"
        path.write_bytes(contents)
        with pytest.raises(ValueError, match=r"t\.json"):
            Tokenizer.load(path)


def merge_lines(text: str) -> list[str]:
    return text.removeprefix("#version: 0.2\n").splitlines()


class TestGpt2Files:
    def test_loading_gives_the_tokenizer_that_was_saved(self, tokenizer, tmp_path):
        tokenizer.save(tmp_path / "gpt2", format="gpt2")
        assert names(tmp_path / "gpt2") == ["merges.txt", "vocab.json"]
        specials = list(tokenizer.special_tokens)
        loaded = Tokenizer.from_files(
            tmp_path / "gpt2/vocab.json", str(tmp_path / "gpt2/merges.txt"), specials, pattern=tokenizer.pattern
        )
        assert loaded == tokenizer

    def test_load_takes_a_directory_of_them(self, tmp_path, corpus):
        plain = Tokenizer(*reference.train_bpe([corpus], 300))
        plain.save(tmp_path, format="gpt2")
        assert Tokenizer.load(tmp_path) == plain

    def test_gpt2_itself_survives(self, gpt2, gpt2_files, tmp_path):
        gpt2.save(tmp_path, format="gpt2")
        saved = tmp_path / "vocab.json", tmp_path / "merges.txt"
        assert Tokenizer.from_files(*saved, special_tokens=[EOT]) == gpt2
        for ours, theirs, reader in zip(saved, gpt2_files, (json.loads, merge_lines), strict=True):
            assert reader(ours.read_text(encoding="utf-8")) == reader(theirs.read_text(encoding="utf-8"))

    @pytest.mark.parametrize(
        ("vocab", "merges", "message"),
        [
            ("{", "", r"vocab\.json: not the expected JSON"),
            ("[1]", "", r"vocab\.json"),
            ('{"a": "b"}', "", r"vocab\.json"),
            ('{"a": -1}', "", r"vocab\.json"),
            ('{"a": 1.5}', "", r"vocab\.json"),
            ('{"€": 1}', "", r"vocab\.json: token \"€\" \(id 1\)"),
            ('{"a": 1}', "", "lacks the byte"),
            (None, "#version: 0.2\na b c\n", r"merges\.txt: line 2 is \"a b c\""),
            (None, "ab\n", r"merges\.txt: line 1 is \"ab\""),
            (None, "a €\n", r"merges\.txt: line 1"),
            (None, "a b\n", "ab"),
            (None, b"\xff \xfe\n", r"merges\.txt: invalid UTF-8 at byte 0"),
        ],
    )
    def test_malformed_files_are_value_errors_that_name_the_place(self, tmp_path, small, vocab, merges, message):
        Tokenizer(BYTES, []).save(tmp_path, format="gpt2")
        if vocab is not None:
            (tmp_path / "vocab.json").write_text(vocab, encoding="utf-8")
        (tmp_path / "merges.txt").write_bytes(merges if isinstance(merges, bytes) else merges.encode())
        with pytest.raises(ValueError, match=message):
            Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt")


@pytest.mark.parametrize("path", ["missing", "missing/t.json"])
def test_a_missing_file_is_named(tmp_path, small, path):
    with pytest.raises(FileNotFoundError) as caught:
        Tokenizer.load(tmp_path / path)
    assert caught.value.filename == str(tmp_path / path)
    with pytest.raises(FileNotFoundError):
        Tokenizer.from_files(tmp_path / path, tmp_path / path)
    with pytest.raises(FileNotFoundError):
        small.save(tmp_path / "missing/t.json")
    with pytest.raises(FileNotFoundError):
        small.save(tmp_path / "missing/gpt2", format="gpt2")


def test_an_unknown_format_is_refused(small, tmp_path):
    with pytest.raises(ValueError, match="format must be"):
        small.save(tmp_path / "t", format="sentencepiece")


class TestEncodeFile:
    @pytest.mark.parametrize("num_threads", [None, 1, 3])
    def test_the_array_holds_the_ids_of_the_text(self, small, corpus, tmp_path, num_threads):
        text = corpus * 8_000
        (tmp_path / "text").write_text(text, encoding="utf-8")
        stats = small.encode_file(tmp_path / "text", tmp_path / "ids.npy", num_threads=num_threads)
        ids = np.load(tmp_path / "ids.npy", mmap_mode="r")
        assert ids.dtype == np.uint16
        assert (ids == small.encode_array(text)).all()
        assert stats == EncodeStats(
            num_tokens=len(ids), num_bytes=len(text.encode()), num_special_tokens=8_000, dtype="uint16"
        )
        assert stats.bytes_per_token == pytest.approx(len(text.encode()) / len(ids))
        assert names(tmp_path) == ["ids.npy", "text"]

    @pytest.mark.parametrize("num_threads", [None, 1, 3])
    def test_the_ids_of_a_file_may_stay_in_memory(self, small, corpus, tmp_path, num_threads):
        text = corpus * 8_000
        (tmp_path / "text").write_text(text, encoding="utf-8")
        for specials in (None, ()):
            ids = small.encode_file_to_array(tmp_path / "text", special_tokens=specials, num_threads=num_threads)
            assert ids.dtype == np.uint32
            assert (ids == small.encode_array(text, special_tokens=specials)).all()
        with pytest.raises(FileNotFoundError, match="missing"):
            small.encode_file_to_array(tmp_path / "missing")
        (tmp_path / "bytes").write_bytes(b"ab\xff")
        with pytest.raises(ValueError, match="byte 2"):
            small.encode_file_to_array(tmp_path / "bytes")

    def test_ids_beyond_16_bits_make_the_array_wider(self, small, tmp_path):
        (tmp_path / "text").write_text("ab")
        for id_, dtype in [(65535, np.uint16), (65536, np.uint32)]:
            tokenizer = Tokenizer({**BYTES, id_: b"ab"}, [(b"a", b"b")])
            assert tokenizer.encode_file(tmp_path / "text", tmp_path / "ids.npy").dtype == np.dtype(dtype).name
            ids = np.load(tmp_path / "ids.npy")
            assert (ids.dtype, ids.tolist()) == (dtype, [id_])

    def test_an_empty_file_has_no_ids(self, small, tmp_path):
        (tmp_path / "text").touch()
        stats = small.encode_file(tmp_path / "text", tmp_path / "ids.npy")
        assert (stats.num_tokens, stats.bytes_per_token) == (0, 0.0)
        assert np.load(tmp_path / "ids.npy").shape == (0,)

    def test_progress_reaches_the_end(self, small, corpus, tmp_path):
        calls = []
        (tmp_path / "text").write_text(corpus, encoding="utf-8")
        small.encode_file(tmp_path / "text", tmp_path / "ids.npy", progress=lambda *call: calls.append(call))
        size = len(corpus.encode())
        assert calls[-1] == ("encode", size, size)

    def test_bad_input_leaves_no_file(self, small, tmp_path):
        (tmp_path / "text").write_bytes(b"ab " * 1_000_000 + b"\xc3")
        with pytest.raises(ValueError, match=r"text: invalid UTF-8 at byte 3000000"):
            small.encode_file(tmp_path / "text", tmp_path / "ids.npy")
        with pytest.raises(FileNotFoundError):
            small.encode_file(tmp_path / "missing", tmp_path / "ids.npy")
        with pytest.raises(IsADirectoryError):
            small.encode_file(tmp_path, tmp_path / "ids.npy")
        with pytest.raises(FileNotFoundError):
            small.encode_file(tmp_path / "text", tmp_path / "missing/ids.npy")
        assert names(tmp_path) == ["text"]

    def test_an_exception_of_the_callback_leaves_no_file(self, small, corpus, tmp_path):
        (tmp_path / "text").write_text(corpus * 100_000, encoding="utf-8")

        def stop(stage, done, total):
            raise RuntimeError(f"{done} of {total}")

        with pytest.raises(RuntimeError, match="of"):
            small.encode_file(tmp_path / "text", tmp_path / "ids.npy", progress=stop)
        assert names(tmp_path) == ["text"]


def test_a_full_disk_leaves_no_file_and_is_an_os_error(tmp_path):
    """No disk to fill: a limit on the size of files fails a write in the same place, without the signal as EFBIG."""
    (tmp_path / "text").write_text("abc " * 1_000_000)
    script = """
        import os, resource, signal, sys
        from pathlib import Path
        from cs336.tokenizer import Tokenizer
        tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        directory = Path(sys.argv[1])
        for limit, write in [
            (1_000_000, lambda: tokenizer.encode_file(directory / "text", directory / "ids.npy")),
            (1_000, lambda: tokenizer.save(directory / "tokenizer.json")),
            (1_000, lambda: tokenizer.save(directory, format="gpt2")),
        ]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                write()
            except OSError as error:
                assert "File too large" in str(error) and str(directory) in str(error), error
            else:
                raise AssertionError("it was written")
        assert os.listdir(directory) == ["text"], os.listdir(directory)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def saved_bytes(small, tmp_path_factory) -> dict[str, bytes]:
    """The files of `small` in each format."""
    directory = tmp_path_factory.mktemp("saved")
    small.save(directory / "tokenizer.json")
    small.save(directory / "ranks.tiktoken")
    small.save(directory, format="gpt2")
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@settings(max_examples=300)
@given(
    name=st.sampled_from(["tokenizer.json", "ranks.tiktoken", "vocab.json", "merges.txt"]),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=4),
    end=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_a_damaged_file_loads_or_is_a_value_error(saved_bytes, tmp_path_factory, name, edits, end):
    contents = bytearray(saved_bytes[name])
    for place, num_removed, inserted in edits:
        at = int(place * len(contents))
        contents[at : at + num_removed] = inserted
    directory = tmp_path_factory.mktemp("damaged")
    for other, intact in saved_bytes.items():
        (directory / other).write_bytes(contents[: int(end * len(contents))] if other == name else intact)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if name in ("vocab.json", "merges.txt"):
                loaded = Tokenizer.from_files(directory / "vocab.json", directory / "merges.txt", [EOT])
            else:
                loaded = Tokenizer.load(directory / name, pattern="gpt2")
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert loaded.decode(loaded.encode("the café\n")) == "the café\n"
