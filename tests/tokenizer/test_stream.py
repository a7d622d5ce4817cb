import io
import subprocess
import sys
import textwrap
from itertools import zip_longest

import pytest

from cs336.tokenizer import Tokenizer

EOT = "<|endoftext|>"
BYTES = {i: bytes([i]) for i in range(256)}


class TestEncodeIterable:
    def test_it_pulls_no_more_than_it_must(self, small):
        pulled = []

        def words():
            for word in ["the", " times", " are", " a"]:
                pulled.append(word)
                yield word

        ids = small.encode_iterable(words())
        assert pulled == []
        first = next(ids)
        assert pulled == ["the", " times"]  # the space made "the" certain
        assert small.decode([first, *ids]) == "the times are a"

    def test_it_is_its_own_iterator_and_stays_exhausted(self, small):
        ids = small.encode_iterable(["a b"])
        assert iter(ids) is ids
        assert list(ids) == small.encode("a b")
        assert list(ids) == []
        with pytest.raises(StopIteration):
            next(ids)

    def test_any_iterable_of_str_will_do(self, small, corpus):
        expected = small.encode(corpus)
        sources = [
            corpus,
            [corpus],
            tuple(corpus),
            dict.fromkeys([corpus]),
            io.StringIO(corpus, newline=""),
            (line for line in corpus.splitlines(keepends=True)),
            ["", corpus[:7], "", "", corpus[7:], ""],
        ]
        for source in sources:
            assert list(small.encode_iterable(source)) == expected

    def test_several_streams_do_not_disturb_one_another(self, small):
        streams = [small.encode_iterable([f"text {i} ", "and more"]) for i in range(3)]
        texts = ["", "", ""]
        for turn in zip_longest(*streams):
            texts = [text + small.decode([] if id_ is None else [id_]) for text, id_ in zip(texts, turn, strict=True)]
        assert texts == [f"text {i} and more" for i in range(3)]

    def test_an_item_that_is_no_str_is_named_and_left_out(self, small):
        ids = small.encode_iterable(["a ", b"x", "b ", None, "c"])
        seen, errors = [], []
        while True:
            try:
                seen.append(next(ids))
            except TypeError as error:
                errors.append(str(error))
            except StopIteration:
                break
        assert small.decode(seen) == "a b c"
        assert errors == [
            "strings must hold str, got bytes at index 1",
            "strings must hold str, got NoneType at index 3",
        ]

    def test_something_else_than_an_iterable_is_refused_at_once(self, small):
        with pytest.raises(TypeError, match="not iterable"):
            small.encode_iterable(3)

    def test_bytes_are_refused(self, small):
        with pytest.raises(TypeError, match="got int at index 0"):
            next(small.encode_iterable(b"abc"))

    def test_an_exception_of_the_source_comes_through_and_the_rest_follows(self, small):
        class Source:
            def __init__(self):
                self.items = iter(["the ti", RuntimeError("network"), "mes ", "are"])

            def __iter__(self):
                return self

            def __next__(self):
                item = next(self.items)
                if isinstance(item, Exception):
                    raise item
                return item

        ids = small.encode_iterable(Source())
        seen = []
        with pytest.raises(RuntimeError, match="network"):
            seen.extend(ids)  # keeps what came before
        assert [*seen, *ids] == small.encode("the times are")

    def test_surrogates_are_joined_across_chunks(self, small):
        smile, lone = "\U0001f642", "\ufffd"
        cases = {
            ("a\ud83d", "\ude42b"): f"a{smile}b",
            ("\ud83d", "", "\ude42"): smile,
            ("\ud83d", "x"): f"{lone}x",
            ("\ud83d", "\ud83d", "\ude42"): lone + smile,
            ("\ude42", "\ud83d"): lone + lone,
            ("\ud83d", "é\ud83d", "\ude42 "): f"{lone}é{smile} ",
            ("x\ud83d",): f"x{lone}",
        }
        for chunks, text in cases.items():
            assert list(small.encode_iterable(chunks)) == small.encode(text), chunks
            assert small.encode("".join(chunks)) == small.encode(text), chunks

    def test_long_strings_and_single_characters_give_the_same_ids(self, small, corpus):
        text = corpus * 1_000  # more than is encoded at once
        assert list(small.encode_iterable([text])) == small.encode(text)
        assert list(small.encode_iterable(iter(corpus * 20))) == small.encode(corpus * 20)

    @pytest.mark.slow
    def test_memory_stays_flat_over_200_megabytes(self):
        script = """
            import resource
            from cs336.tokenizer import Tokenizer, train_bpe
            line = "It was the best of times, it was the worst of times; naïve 日本語 12345 🙂.\\n" * 12
            vocab, merges = train_bpe(iter([line]), 400)
            tokenizer = Tokenizer(vocab, merges)
            def peak():
                return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            def lines(num_bytes):
                for _ in range(num_bytes // len(line.encode())):
                    yield line
            def drain(num_bytes):
                return sum(1 for _ in tokenizer.encode_iterable(lines(num_bytes)))
            drain(5_000_000)
            before = peak()
            num_tokens = drain(200_000_000)
            assert num_tokens == len(tokenizer.encode(line)) * (200_000_000 // len(line.encode()))
            print(peak() - before)
        """
        run = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        assert int(run.stdout) <= 1  # MiB; what is held is a line


class TestDecodeStream:
    def test_half_a_character_is_held_back(self):
        stream = Tokenizer(BYTES, []).decode_stream()
        assert [stream.push(byte) for byte in "é🙂".encode()] == ["", "é", "", "", "", "🙂"]
        assert stream.finish() == ""

    def test_what_never_became_a_character_is_replaced(self):
        tokenizer = Tokenizer(BYTES, [])
        for ids in (
            [0xF0, 0x9F, 0x99],
            [0xC3, 0x41],
            [0xED, 0xA0, 0x80],
            [0xFF, 0xC0, 0xAF],
            [0xF4, 0x90],
            [0xE2, 0x82],
        ):
            stream = tokenizer.decode_stream()
            assert "".join([*map(stream.push, ids), stream.finish()]) == tokenizer.decode(ids), ids

    def test_a_bad_id_leaves_the_stream_as_it_was(self):
        stream = Tokenizer(BYTES, []).decode_stream()
        assert stream.push(0xC3) == ""
        with pytest.raises(ValueError, match="id 256"):
            stream.push(256)
        with pytest.raises(TypeError):
            stream.push("a")
        assert stream.push(0xA9) == "é"

    def test_after_finish_it_is_as_new(self):
        stream = Tokenizer(BYTES, []).decode_stream()
        stream.push(0xC3)
        assert stream.finish() == "\ufffd"
        assert stream.push(0x41) == "A"
