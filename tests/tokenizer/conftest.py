import os
import warnings
from pathlib import Path

import pytest

from cs336.tokenizer import Tokenizer, train_bpe

CORPUS = """It was the best of times, it was the worst of times; it wasn't what they'd hoped for.
"Isn't it?" she said.   The café's menu: naïve crêpes, 日本語 and 한국어, 12 345.67 euros!

\tdef f(x):\n\t\treturn x ** 2  # 🙂🙂\n<|endoftext|>The times they are a-changin', the the the.
"""


def _data_directory() -> Path | None:
    """Where real vocabularies lie: CS336_TEST_DATA, or a folder `data` somewhere beside the checkout."""
    beside = Path(__file__).resolve().parents[3].glob("*/data/gpt2_vocab.json")
    named = os.environ.get("CS336_TEST_DATA")
    candidates = [Path(named)] if named else [path.parent for path in beside]
    return next((path for path in candidates if (path / "gpt2_vocab.json").exists()), None)


@pytest.fixture(scope="session")
def gpt2_files() -> tuple[Path, Path]:
    directory = _data_directory()
    if directory is None:
        pytest.skip("GPT-2's gpt2_vocab.json and gpt2_merges.txt not found; set CS336_TEST_DATA to their directory")
    return directory / "gpt2_vocab.json", directory / "gpt2_merges.txt"


@pytest.fixture(scope="session")
def data_directory() -> Path:
    directory = _data_directory()
    if directory is None:
        pytest.skip("real vocabularies and texts not found; set CS336_TEST_DATA to their directory")
    return directory


@pytest.fixture(scope="session", params=["english_valid", "code", "multilingual"])
def real_text(request, data_directory) -> str:
    """Pieces from all over a real text."""
    zstandard = pytest.importorskip("zstandard")
    path = data_directory / f"{request.param}.txt.zst"
    if not path.exists():
        pytest.skip(f"{path} not found")
    with path.open("rb") as file:
        text = zstandard.ZstdDecompressor().stream_reader(file).read().decode()
    return "".join(text[start : start + 20_000] for start in range(0, len(text), max(1, len(text) // 20)))


@pytest.fixture(scope="session")
def gpt2(gpt2_files) -> Tokenizer:
    return Tokenizer.from_files(*gpt2_files, special_tokens=["<|endoftext|>"])


@pytest.fixture(scope="session")
def tiktoken_gpt2(gpt2_files):
    tiktoken = pytest.importorskip("tiktoken")
    vocab = Tokenizer.from_files(*gpt2_files, ["<|endoftext|>"]).vocab
    special = b"<|endoftext|>"
    return tiktoken.Encoding(
        "gpt2",
        pat_str=r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""",
        mergeable_ranks={token: id_ for id_, token in vocab.items() if token != special},
        special_tokens={special.decode(): 50256},
    )


@pytest.fixture(scope="session")
def corpus() -> str:
    return CORPUS


@pytest.fixture(scope="session")
def small() -> Tokenizer:
    """A small vocabulary trained on CORPUS, with a special token."""
    vocab, merges = train_bpe(iter([CORPUS]), 380, ["<|endoftext|>"])
    return Tokenizer(vocab, merges, ["<|endoftext|>"])


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
