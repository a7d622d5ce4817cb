from pathlib import Path

import pytest

from cs336.experiments.report.document import Document
from cs336.experiments.report.markdown import as_markdown
from cs336.experiments.report.page import as_page
from cs336.experiments.report.tokenizers import _kind, _shown, tokenizer_section
from cs336.experiments.tokenizer_facts import Compression, Corpus, Shared, Storage, Study, Throughput, Training
from cs336.tokenizer.inspection import ScriptFacts


def compression(tokenizer, text, value):
    return Compression(
        tokenizer=tokenizer,
        text=text,
        num_documents=9,
        bytes_per_token=value,
        low=value - 0.5,
        high=value + 0.25,
        tokens_per_document=1234.4,
    )


@pytest.fixture
def study():
    corpora = tuple(Corpus(name=name, train=Path("t"), valid=Path("v"), vocab_size=300) for name in ("prose", "code"))
    pairs = (("prose", "prose", 4.0), ("prose", "code", 2.0), ("code", "prose", 3.0), ("code", "code", 5.0))
    return Study(
        corpora=corpora,
        trainings=tuple(
            Training(
                corpus=corpus.name,
                vocab_size=300,
                num_bytes=1000,
                elapsed_s=4.0,
                stages_s={"count": 3.0, "merge": 1.0},
                peak_bytes=50_000_000,
                longest=("␣cat", "----", "␊␣␣", "a``b"),
            )
            for corpus in corpora
        ),
        overlap=Shared(num_shared=30, num_only=(10, 20), only=(("ab",), ("`",))),
        sampled=tuple(compression(*pair) for pair in pairs),
        whole=tuple(compression(*pair) for pair in pairs),
        scripts={
            f"{name} on {text}": (ScriptFacts(script="Latin", num_bytes=90, num_tokens=30.0 if name == text else 45.0),)
            for name, text, _ in pairs
        },
        throughput=(Throughput(tokenizer="prose", num_threads=2, num_bytes=1000, bytes_per_s=825e6, pile_s=1000.0),),
        storage=(Storage(tokenizer="prose", greatest_id=299, dtype="uint16", bytes_per_text_byte=0.5),),
    )


def test_every_question_has_its_sentence_and_its_numbers(study):
    text = as_markdown(Document(title="T", sections=(tokenizer_section(study),)))
    for expected in (
        "Training on prose spends most of its time counting pretokens: 75% of 4.00 s.",
        "of the 4 longest: 1 of letters alone, 1 of one thing over and over, 1 of white space, 1 of other kinds.",
        "30 tokens are in both vocabularies, 75% of the smaller; 10 are only in that of prose, 20 only in that of",
        "the tokenizer of prose gives 60.0% fewer bytes a token than that of code itself: 2.50 times as many tokens.",
        "The greatest id of prose is 299, below 2^16 = 65,536: uint16 holds every id",
        "| code on code | 5.000 | 4.500 to 5.250 | 9 | 1,234 |",
        "| code: Latin | 100.0% | 2.00 | 3.00 |",
        "| prose | 2 | 1,000 | 825 MB/s | 16:40 |",
        "| prose | 1,000 | 300 | 4.00 s | 3.00 s | 1.00 s | 50 MB |",
    ):
        assert expected in text


def test_tokens_are_code_whatever_they_hold(study):
    page = as_page(Document(title="T", sections=(tokenizer_section(study),)))
    assert "<code>␣cat</code>" in page
    assert "<code>a``b</code>" in page
    assert _shown("`") == "`` ` ``"


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("␣elephant", "of letters alone"),
        ("␣====", "of one thing over and over"),
        ("UUUU", "of one thing over and over"),
        ("␊␣␣␣", "of white space"),
        ("␣cat's", "of other kinds"),
    ],
)
def test_long_tokens_are_told_by_kind(token, kind):
    assert _kind(token) == kind


def test_a_long_token_is_shown_by_its_beginning():
    assert _shown("-" * 64) == "`----------------…` (64 characters)"
