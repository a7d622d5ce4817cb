import numpy as np
import pytest

from cs336.tokenizer import Tokenizer


@pytest.fixture
def corpus(cs336, tmp_path):
    """A small corpus with a bad record in it."""
    tokenizer = Tokenizer({number: bytes([number]) for number in range(256)}, [], ["<|endoftext|>"])
    tokenizer.save(tmp_path / "tokenizer.json")
    (tmp_path / "a.jsonl").write_text('{"text": "low"}\nnone\n{"text": ""}\n{"text": "lower"}\n', encoding="utf-8")
    arguments = ("--tokenizer", tmp_path / "tokenizer.json", "-o", tmp_path / "corpus", "--on-bad", "skip")
    done = cs336("corpus", "run", tmp_path / "a.jsonl", *arguments)
    assert done.code == 0, done.err
    return tmp_path / "corpus"


def test_a_corpus_is_converted_and_back(cs336, corpus, tmp_path):
    done = cs336("corpus", "convert", corpus, "-o", tmp_path / "train.bin", "--to", "nanogpt", "--json")
    assert done.code == 0, done.err
    assert (done.json["num_documents"], done.json["num_tokens"], done.json["greatest_id"]) == (3, 11, 256)
    assert np.fromfile(tmp_path / "train.bin", np.uint16).tolist() == [*b"low", 256, 256, *b"lower", 256]
    back = ("--to", "shards", "--tokenizer", tmp_path / "tokenizer.json")
    done = cs336("corpus", "convert", tmp_path / "train.bin", "-o", tmp_path / "back", *back)
    assert done.code == 0, done.err
    assert cs336("corpus", "verify", tmp_path / "back").code == 0


def test_what_cannot_be_converted_is_told_in_a_line(cs336, corpus, tmp_path):
    refused = cs336("corpus", "convert", corpus, "-o", tmp_path / "out.bin")
    assert refused.code == 1
    assert "does not tell the layout to write" in refused.err
    assert cs336("corpus", "convert", "-o", tmp_path / "out.ds").code == 2


def test_a_report_is_a_page_or_a_picture(cs336, corpus, tmp_path):
    assert cs336("corpus", "report", corpus, "-o", tmp_path / "report.html").code == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for said in ("invalid JSON", "1 of 4 (25.0000%)", "1 documents without text", "6 tokens"):
        assert said in page, said
    pytest.importorskip("matplotlib")
    assert cs336("corpus", "report", corpus, "-o", tmp_path / "report.png").code == 0
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    refused = cs336("corpus", "report", tmp_path, "-o", tmp_path / "none.html")
    assert refused.code == 1
    assert not (tmp_path / "none.html").exists()


def test_the_script_for_slurm_is_printed(cs336):
    printed = cs336("corpus", "slurm")
    assert printed.code == 0
    assert printed.out.startswith("#!/bin/bash\n")
    assert "--task-index" in printed.out
