import io
import re
import sys
from html.parser import HTMLParser

import pytest

from cs336.cli import inspect
from cs336.tokenizer import Tokenizer, train_bpe

EOT = "<|endoftext|>"
TEXT = f"def größer():  # 日本 ✓\n\treturn 1{EOT}\n"


@pytest.fixture
def tokenizer_file(text_file, tmp_path):
    vocab, merges = train_bpe(text_file, 290, [EOT])
    Tokenizer(vocab, merges, [EOT]).save(tmp_path / "mine.json")
    return tmp_path / "mine.json"


@pytest.fixture
def other_file(tmp_path):
    vocab, merges = train_bpe(iter([TEXT * 3]), 280, [EOT])
    Tokenizer(vocab, merges, [EOT]).save(tmp_path / "other.json")
    return tmp_path / "other.json"


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def refused(outcome, *words):
    assert outcome.code == 1
    assert outcome.out == ""
    assert outcome.err.startswith("cs336: error: ")
    assert outcome.err.count("\n") == 1
    assert all(word in outcome.err for word in words)


def test_a_vocabulary_is_told_in_plain_text(cs336, tokenizer_file):
    out = cs336("tokenizer", "inspect", tokenizer_file).out
    assert "\x1b" not in out
    assert re.search(r"tokens +290\n", out)
    assert re.search(r"pattern +gpt2\n", out)
    assert re.search(r"longest tokens +bytes +id\n", out)
    assert "overlap" not in out


def test_tokens_of_a_text_are_set_apart(cs336, tokenizer_file, sample):
    out = cs336("tokenizer", "inspect", tokenizer_file, "--text", sample).out
    assert "def|" in out
    assert r"|\xE6|" in out  # a part of 日
    assert f"|{EOT}|⏎\n" in out
    assert "␉" in out
    assert re.search(r"Latin +\d+\.\d % +\d\.\d\d +█+", out)


def test_colours_are_used_where_the_terminal_has_them(cs336, tokenizer_file, sample, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    out = cs336("tokenizer", "inspect", tokenizer_file, "--text", sample).out
    assert "\x1b[" in out.splitlines()[1]
    assert re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines()[2] == f"␉return 1{EOT}⏎"


def test_stdin_can_be_looked_at(cs336, tokenizer_file, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode()), encoding="utf-8"))
    found = cs336("tokenizer", "inspect", tokenizer_file, "--text", "-", "--json").json
    text = found["tokenizers"][0]["text"]
    assert text["num_bytes"] == len(TEXT.encode())
    assert text["bytes_per_token"] == text["num_bytes"] / text["num_tokens"]
    assert {script["script"] for script in text["scripts"]} >= {"Latin", "Han", "symbols", "white space"}


def test_two_are_compared(cs336, tokenizer_file, other_file, sample):
    arguments = ("tokenizer", "inspect", tokenizer_file, "--compare", other_file, "--text", sample)
    out = cs336(*arguments).out
    assert "tokens of the text by mine" in out
    assert "tokens of the text by other" in out
    assert re.search(r"in both +\d+", out)
    found = cs336(*arguments, "--json").json
    mine, other = Tokenizer.load(tokenizer_file), Tokenizer.load(other_file)
    shared = set(mine.vocab.values()) & set(other.vocab.values()) - {EOT.encode()}
    assert found["overlap"] == {"num_shared": len(shared), "num_only": [289 - len(shared), 279 - len(shared)]}
    assert [each["name"] for each in found["tokenizers"]] == ["mine", "other"]


def test_names_tell_files_of_one_name_apart(cs336, tokenizer_file, tmp_path):
    paths = [tmp_path / "a" / "tokenizer.json", tmp_path / "b" / "tokenizer.json"]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(tokenizer_file.read_bytes())
    for pair in (paths, [path.parent for path in paths], [paths[0], paths[0]]):
        names = [
            each["name"]
            for each in cs336("tokenizer", "inspect", pair[0], "--compare", pair[1], "--json").json["tokenizers"]
        ]
        assert len(set(names)) == 2


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that what is opened is closed."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open, self.text, self.references = [], "", []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.references += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_page_holds_everything_it_needs(cs336, tokenizer_file, other_file, sample, tmp_path):
    for arguments in ([], ["--text", sample], ["--text", sample, "--compare", other_file], ["--compare", other_file]):
        outcome = cs336("tokenizer", "inspect", tokenizer_file, *arguments, "--html", tmp_path / "page.html")
        assert outcome.code == 0, outcome.err
        content = (tmp_path / "page.html").read_text(encoding="utf-8")
        page = Page(content)
        assert page.references == []
        assert not re.search(r"<script|@import|url\(|https?://", content)
        assert "prefers-color-scheme: dark" in content
        assert "@media print" in content
        assert 'name="viewport"' in content
        assert (f"{EOT}⏎\n" in page.text) == ("--text" in arguments)
        assert ("Overlap" in page.text) == ("--compare" in arguments)


def test_text_and_tokens_on_a_page_are_no_markup(cs336, tokenizer_file, tmp_path):
    (tmp_path / "evil.txt").write_text("<script>alert('&amp;')</script>")
    vocab = Tokenizer.load(tokenizer_file).vocab
    Tokenizer({**vocab, 400: b"<b>bold"}, [], ["<i>", EOT], pattern=r"[^<>]+|<|>").save(tmp_path / "<u>.json")
    cs336(
        "tokenizer", "inspect", tmp_path / "<u>.json", "--text", tmp_path / "evil.txt", "--html", tmp_path / "page.html"
    )
    content = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search("<(script|b|i|u)>", content)
    assert "&lt;u&gt;" in content


def test_only_the_beginning_of_a_large_text_is_looked_at(cs336, tokenizer_file, tmp_path, monkeypatch):
    monkeypatch.setattr(inspect, "MAX_TEXT_BYTES", 1 << 20)
    (tmp_path / "large.txt").write_text("aé日" * 200_000, encoding="utf-8")
    outcome = cs336("tokenizer", "inspect", tokenizer_file, "--text", tmp_path / "large.txt", "--json")
    assert "the first 1 MiB" in outcome.err
    assert (1 << 20) - 3 <= outcome.json["tokenizers"][0]["text"]["num_bytes"] <= 1 << 20


def test_what_cannot_be_inspected_is_refused(cs336, tokenizer_file, tmp_path):
    (tmp_path / "binary").write_bytes(b"ab\xff")
    (tmp_path / "t.tiktoken").write_bytes(b"YQ== 0\n")
    refused(cs336("tokenizer", "inspect", tmp_path / "missing.json"), "missing.json")
    refused(cs336("tokenizer", "inspect", tokenizer_file, "--text", tmp_path / "missing"), "missing")
    refused(cs336("tokenizer", "inspect", tokenizer_file, "--text", tmp_path / "binary"), "invalid UTF-8 at byte 2")
    refused(cs336("tokenizer", "inspect", tokenizer_file, "--html", tmp_path / "no" / "page.html"), "no such directory")
    refused(cs336("tokenizer", "inspect", tokenizer_file, "--html", tmp_path), "directory")
    refused(cs336("tokenizer", "inspect", tmp_path / "t.tiktoken"), "pattern")
    assert not list(tmp_path.glob(".*tmp*"))


class TestConvert:
    def test_there_and_back_again(self, cs336, tokenizer_file, tmp_path):
        ranks, gpt2, back = tmp_path / "t.tiktoken", tmp_path / "gpt2", tmp_path / "back.json"
        result = cs336("tokenizer", "convert", tokenizer_file, ranks, "--json").json
        assert (result["format"], result["left_out_pattern"]) == ("tiktoken", "gpt2")
        assert result["left_out_special_tokens"] == {EOT: 289}
        again = ("--pattern", "gpt2", "--special-tokens", EOT)
        assert cs336("tokenizer", "convert", ranks, gpt2, "--to", "gpt2", *again).code == 0
        outcome = cs336("tokenizer", "convert", gpt2, back, *again, "--json")
        assert outcome.json["sha256"] == result["sha256"]
        assert Tokenizer.load(back) == Tokenizer.load(tokenizer_file)

    def test_the_format_may_be_said(self, cs336, tokenizer_file, tmp_path):
        out = tmp_path / "ranks.txt"
        assert cs336("tokenizer", "convert", tokenizer_file, out, "--to", "tiktoken").code == 0
        assert out.read_bytes().startswith(b"AA== 0\n")
        outcome = cs336("tokenizer", "convert", tokenizer_file, tmp_path / "somewhere")
        assert outcome.code == 2
        assert "--to" in outcome.err

    def test_what_cannot_be_converted_is_refused(self, cs336, tokenizer_file, tmp_path):
        odd = Tokenizer({**{i: bytes([i]) for i in range(256)}, 256: b"bc", 257: b"ab"}, [(b"a", b"b"), (b"b", b"c")])
        odd.save(tmp_path / "odd.json")
        refused(cs336("tokenizer", "convert", tmp_path / "odd.json", tmp_path / "odd.tiktoken"), "ids as ranks")
        refused(cs336("tokenizer", "convert", tokenizer_file, tmp_path / "no" / "t.json"), "no such directory")
        assert not (tmp_path / "odd.tiktoken").exists()
