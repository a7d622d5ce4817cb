from pathlib import Path

import pytest

from cs336.experiments.documents import END_OF_TEXT
from cs336.experiments.gathering import Gathered, standard_library, write_corpus


def test_the_standard_library_is_a_corpus_without_tests_and_packages() -> None:
    files = standard_library()
    names = {path.name for path in files}
    assert {"argparse.py", "dataclasses.py"} <= names
    assert len(files) > 300
    assert not any({"site-packages", "test", "tests"} & set(path.parts[-4:-1]) for path in files)


def corpus_of(tmp_path: Path, *contents: bytes, valid_share: float = 0.5) -> tuple[Gathered, str, str]:
    files = [tmp_path / f"{number}" for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    corpus = write_corpus(files, tmp_path, valid_share=valid_share)
    return corpus, (tmp_path / "train.txt").read_text(), (tmp_path / "valid.txt").read_text()


def test_every_document_is_on_one_side_whatever_the_order(tmp_path: Path) -> None:
    documents = [f"document {number}\n".encode() for number in range(40)]
    corpus, train, valid = corpus_of(tmp_path, *documents)
    parts = [set(text.split(END_OF_TEXT)) - {""} for text in (train, valid)]
    assert corpus.num_documents == 40 == len(parts[0]) + len(parts[1])
    assert not parts[0] & parts[1]
    _, reversed_train, _ = corpus_of(tmp_path, *documents[::-1])
    assert set(reversed_train.split(END_OF_TEXT)) - {""} == parts[0]


def test_binary_and_empty_files_are_skipped_and_counted(tmp_path: Path) -> None:
    corpus, train, valid = corpus_of(tmp_path, b"one\n", b"\xff\xfe", b"", b" \n", b"two\n")
    assert (corpus.num_documents, corpus.num_skipped) == (2, 3)
    assert sorted((train + valid).split(END_OF_TEXT)) == ["", "one\n", "two\n"]


def test_a_file_may_hold_several_documents(tmp_path: Path) -> None:
    corpus, _, _ = corpus_of(tmp_path, b"one<|endoftext|>two<|endoftext|>three")
    assert corpus.num_documents == 3


@pytest.mark.parametrize("valid_share", [1e-9, 1 - 1e-9])
def test_neither_side_is_empty(tmp_path: Path, valid_share: float) -> None:
    for contents in ([b"one\n", b"two\n"], [b"a line\n" * 20], [b"no line end " * 20]):
        _, train, valid = corpus_of(tmp_path, *contents, valid_share=valid_share)
        assert train.removesuffix(END_OF_TEXT)
        assert valid.removesuffix(END_OF_TEXT)


def test_no_text_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no text found in 1 files; give UTF-8 text files"):
        corpus_of(tmp_path, b"\xff")
    with pytest.raises(ValueError, match=r"too short to learn from"):
        corpus_of(tmp_path, b"x")
