"""How each tool loads a vocabulary and encodes: its own quickest documented way for each job.

An `Encoder` says what it cannot do by raising `UnsupportedError`. What a method returns is the tool's own; `ids` makes
one array of it, outside the timing.
"""

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import SEPARATOR, UnsupportedError


@dataclass(frozen=True)
class Vocabulary:
    """The vocabulary of a comparison, in the forms that the tools read.

    Attributes:
        source: the file or directory that was named.
        folder: holds the same as `tokenizer.json` and `ranks.tiktoken`, written by `write`.
    """

    source: Path
    folder: Path

    @property
    def tokenizer_json(self) -> str:
        return str(self.folder / "tokenizer.json")

    @property
    def ranks_path(self) -> str:
        return str(self.folder / "ranks.tiktoken")

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Pattern and special tokens, and under which name OpenAI published the vocabulary."""
        facts: dict[str, Any] = json.loads((self.folder / "facts.json").read_text(encoding="utf-8"))
        return facts

    def published_as(self, *names: str) -> str:
        """The name of the encoding, if it is one of these that a tool brings with it.

        Raises:
            UnsupportedError: it is not.
        """
        if self.facts["published"] in names:
            return str(self.facts["published"])
        raise UnsupportedError(f"only its own vocabularies: {', '.join(names)}")

    def write(self) -> None:
        """Reads the source with ours and writes what the others read.

        Some read no `tokenizer.json` with ids that are left free, as before cl100k's special tokens. None of the texts
        holds a special token (they are divided at the separator), so there these are left out.
        """
        tokenizer = load_ours(self.source)
        self.folder.mkdir(parents=True, exist_ok=True)
        ordinary = {id: token for id, token in tokenizer.vocab.items() if id not in tokenizer.special_tokens.values()}
        gapless = max(tokenizer.vocab) + 1 == len(tokenizer.vocab)
        without_gaps = tokenizer if gapless else bare(ordinary, tokenizer)
        without_gaps.save(self.tokenizer_json)
        tokenizer.save(self.ranks_path)
        known = self.source.stem if self.source.suffix == ".tiktoken" else None
        published = known if known in ("r50k_base", "cl100k_base", "o200k_base") else None
        facts = {"pattern": tokenizer.pattern_regex, "specials": tokenizer.special_tokens, "published": published}
        (self.folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def load_ours(source: Path) -> Any:
    from cs336.tokenizer import Tokenizer

    if source.suffix == ".json" and source.name != "tokenizer.json" and "vocab" in source.name:
        merges = source.with_name(source.name.replace("vocab", "merges")).with_suffix(".txt")
        return Tokenizer.from_files(source, merges, [SEPARATOR])
    return Tokenizer.load(source)


def bare(ordinary: dict[int, bytes], tokenizer: Any) -> Any:
    from cs336.tokenizer import Tokenizer

    pattern = tokenizer.pattern_regex
    return Tokenizer(ordinary, tokenizer.merges, pattern=pattern, ignore_merges=tokenizer.ignore_merges)


def flat(result: Any) -> np.ndarray:
    """The ids of any of the results below, in one array."""
    if isinstance(result, tuple):  # all ids, then offsets
        result = result[0]
    if isinstance(result, (bytes, bytearray, memoryview)):
        return np.frombuffer(result, dtype="<u4")
    if type(result).__module__.startswith("awkward"):
        import awkward

        return np.asarray(awkward.flatten(result, axis=None), dtype=np.uint32)
    if isinstance(result, list) and result and not isinstance(result[0], (int, np.integer)):
        return np.concatenate([np.asarray(ids, dtype=np.uint32) for ids in result])
    return np.asarray(result, dtype=np.uint32)


class Encoder(ABC):
    """One tool with a vocabulary loaded."""

    def __init__(self, vocabulary: Vocabulary, threads: int) -> None:
        self.vocabulary = vocabulary
        self.threads = threads
        self.load()

    @abstractmethod
    def load(self) -> None:
        """Load the tool and its vocabulary; untimed."""

    def text_to_list(self, text: str) -> Any:
        raise UnsupportedError("no lists of ids")

    def text_to_array(self, text: str) -> Any:
        raise UnsupportedError("no arrays")

    def documents_to_lists(self, texts: list[str]) -> Any:
        self.expect_one_thread("batches")
        return [self.text_to_list(text) for text in texts]

    def documents_to_array(self, texts: list[str]) -> Any:
        self.expect_one_thread("batches to arrays")
        return [self.text_to_array(text) for text in texts]

    def file_to_array(self, path: Path) -> Any:
        """Reading in Python where the tool cannot: what its user would write."""
        return self.documents_to_array([text for text in path.read_text(encoding="utf-8").split(SEPARATOR) if text])

    def ids(self, result: Any) -> np.ndarray:
        """What any of the methods returned, as one array."""
        return flat(result)

    def expect_one_thread(self, what: str) -> None:
        if self.threads > 1:
            raise UnsupportedError(f"no {what} on several threads")


class Cs336(Encoder):
    def load(self) -> None:
        self.tokenizer = load_ours(self.vocabulary.source)

    def text_to_list(self, text: str) -> Any:
        return self.tokenizer.encode_ordinary(text, num_threads=self.threads)

    def text_to_array(self, text: str) -> Any:
        return self.tokenizer.encode_array(text, special_tokens=(), num_threads=self.threads)

    def documents_to_lists(self, texts: list[str]) -> Any:
        return self.tokenizer.encode_batch(texts, self.threads, special_tokens=())

    def documents_to_array(self, texts: list[str]) -> Any:
        return self.tokenizer.encode_batch_to_array(texts, self.threads, special_tokens=())[0]

    def file_to_array(self, path: Path) -> Any:
        return self.tokenizer.encode_file_to_array(path, num_threads=self.threads)

    def ids(self, result: Any) -> np.ndarray:
        """The others leave the separators of a file out; for ours they are tokens that belong to it."""
        ids = super().ids(result)
        return ids[ids != self.tokenizer.special_tokens.get(SEPARATOR, -1)]


class Tiktoken(Encoder):
    def load(self) -> None:
        import tiktoken
        from tiktoken.load import load_tiktoken_bpe

        self.encoding = tiktoken.Encoding(
            "same",
            pat_str=self.vocabulary.facts["pattern"],
            mergeable_ranks=load_tiktoken_bpe(self.vocabulary.ranks_path),
            special_tokens=self.vocabulary.facts["specials"],
        )

    def text_to_list(self, text: str) -> Any:
        self.expect_one_thread("single texts")
        return self.encoding.encode_ordinary(text)

    def text_to_array(self, text: str) -> Any:
        self.expect_one_thread("single texts")
        return self.encoding.encode_to_numpy(text, disallowed_special=())

    def documents_to_lists(self, texts: list[str]) -> Any:
        if self.threads == 1:
            return [self.encoding.encode_ordinary(text) for text in texts]
        return self.encoding.encode_ordinary_batch(texts, num_threads=self.threads)

    def file_to_array(self, path: Path) -> Any:
        texts = [text for text in path.read_text(encoding="utf-8").split(SEPARATOR) if text]
        return np.concatenate([np.asarray(ids, dtype=np.uint32) for ids in self.documents_to_lists(texts)])


class Tokenizers(Encoder):
    def load(self) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(self.vocabulary.tokenizer_json)

    def text_to_list(self, text: str) -> Any:
        self.expect_one_thread("single texts")
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def documents_to_lists(self, texts: list[str]) -> Any:
        return [one.ids for one in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def file_to_array(self, path: Path) -> Any:
        texts = [text for text in path.read_text(encoding="utf-8").split(SEPARATOR) if text]
        return np.concatenate([np.asarray(ids, dtype=np.uint32) for ids in self.documents_to_lists(texts)])


class Gigatoken(Encoder):
    def load(self) -> None:
        import awkward  # noqa: F401  (what it returns; imported at the first use, which would count as encoding)
        import gigatoken

        self.gigatoken = gigatoken
        published = self.vocabulary.facts["published"]
        if published is not None:
            self.tokenizer = gigatoken.Tokenizer.from_tiktoken(self.vocabulary.source)
        else:
            self.tokenizer = gigatoken.Tokenizer(self.vocabulary.tokenizer_json)

    # On one core one text after the other is quicker than its batches, whose workers each begin with an empty cache.

    def text_to_list(self, text: str) -> Any:
        return self.text_to_array(text).tolist()

    def text_to_array(self, text: str) -> Any:
        if self.threads == 1:
            return self.tokenizer.encode(text)
        return self.tokenizer.encode_batch([text], parallel=True)[0]

    def documents_to_lists(self, texts: list[str]) -> Any:
        if self.threads == 1:
            return [self.tokenizer.encode(text).tolist() for text in texts]
        return self.tokenizer.encode_batch_list(texts, parallel=True)

    def documents_to_array(self, texts: list[str]) -> Any:
        if self.threads == 1:
            return [self.tokenizer.encode(text) for text in texts]
        return self.tokenizer.encode_batch(texts, parallel=True)

    def file_to_array(self, path: Path) -> Any:
        source = self.gigatoken.TextFileSource([str(path)], separator=SEPARATOR)
        return self.tokenizer.encode_files(source, parallel=self.threads > 1)


class Flat(Encoder):
    """fastokens and snaptokens: the same methods."""

    module: str

    def load(self) -> None:
        self.tokenizer = __import__(self.module).Tokenizer.from_file(self.vocabulary.tokenizer_json)

    def text_to_list(self, text: str) -> Any:
        self.expect_one_thread("single texts")
        return self.tokenizer.encode(text).ids

    def text_to_array(self, text: str) -> Any:
        self.expect_one_thread("single texts")
        return self.tokenizer.encode_batch_flat([text])

    def documents_to_lists(self, texts: list[str]) -> Any:
        return [one.ids for one in self.tokenizer.encode_batch(texts)]

    def documents_to_array(self, texts: list[str]) -> Any:
        return self.tokenizer.encode_batch_flat(texts)


class Fastokens(Flat):
    module = "fastokens"


class Snaptokens(Flat):
    module = "snaptokens"


class Tokie(Encoder):
    def load(self) -> None:
        import tokie

        self.tokenizer = tokie.Tokenizer.from_json(self.vocabulary.tokenizer_json)

    def text_to_list(self, text: str) -> Any:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def text_to_array(self, text: str) -> Any:
        return self.tokenizer.encode_batch_flat([text], add_special_tokens=False)

    def documents_to_lists(self, texts: list[str]) -> Any:
        return [one.ids for one in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def documents_to_array(self, texts: list[str]) -> Any:
        return self.tokenizer.encode_batch_flat(texts, add_special_tokens=False)

    def file_to_array(self, path: Path) -> Any:
        return self.tokenizer.encode_files([str(path)], separator=SEPARATOR.encode())


class Quicktok(Encoder):
    def load(self) -> None:
        import quicktok

        self.tokenizer = quicktok.get_encoding(self.vocabulary.published_as("cl100k_base", "o200k_base"))

    def text_to_list(self, text: str) -> Any:
        self.expect_one_thread("single texts")
        return self.tokenizer.encode_ordinary(text)

    def text_to_array(self, text: str) -> Any:
        self.expect_one_thread("single texts")
        return self.tokenizer.encode_batch([text], threads=1)

    def documents_to_lists(self, texts: list[str]) -> Any:
        self.expect_one_thread("batches to lists")
        return [self.tokenizer.encode_ordinary(text) for text in texts]

    def documents_to_array(self, texts: list[str]) -> Any:
        return self.tokenizer.encode_batch(texts, threads=self.threads)


class Toktok(Encoder):
    def load(self) -> None:
        import toktok

        # Its public function only counts; this is the one that it names for whoever wants the ids.
        self.tokenizer = toktok._encoding(self.vocabulary.published_as("cl100k_base", "o200k_base"))

    def text_to_list(self, text: str) -> Any:
        self.expect_one_thread("single texts")
        return self.tokenizer.encode_ordinary(text)

    def text_to_array(self, text: str) -> Any:
        self.expect_one_thread("single texts")
        return self.tokenizer.encode_batch_to_numpy([text], threads=1)

    def documents_to_lists(self, texts: list[str]) -> Any:
        self.expect_one_thread("batches to lists")
        return [self.tokenizer.encode_ordinary(text) for text in texts]

    def documents_to_array(self, texts: list[str]) -> Any:
        return self.tokenizer.encode_batch_to_numpy(texts, threads=self.threads)


class Riptoken(Encoder):
    def load(self) -> None:
        import riptoken

        ranks = riptoken.load_tiktoken_bpe(self.vocabulary.ranks_path)
        facts = self.vocabulary.facts
        self.core = riptoken.CoreBPE(ranks, facts["specials"], facts["pattern"])

    def text_to_list(self, text: str) -> Any:
        self.expect_one_thread("single texts")
        return self.core.encode_ordinary(text)

    def documents_to_lists(self, texts: list[str]) -> Any:
        if self.threads == 1:
            return [self.core.encode_ordinary(text) for text in texts]
        return self.core.encode_ordinary_batch(texts)


class RsBpe(Encoder):
    def load(self) -> None:
        from rs_bpe import openai

        name = self.vocabulary.published_as("cl100k_base", "o200k_base")
        self.tokenizer = openai.cl100k_base() if name == "cl100k_base" else openai.o200k_base()

    def text_to_list(self, text: str) -> Any:
        self.expect_one_thread("single texts")
        return self.tokenizer.encode(text)

    def documents_to_lists(self, texts: list[str]) -> Any:
        if self.threads == 1:
            return [self.tokenizer.encode(text) for text in texts]
        ids, *_ = self.tokenizer.encode_batch(texts)
        return ids


ENCODERS: dict[str, type[Encoder]] = {
    "cs336": Cs336,
    "gigatoken": Gigatoken,
    "fastokens": Fastokens,
    "snaptokens": Snaptokens,
    "toktok": Toktok,
    "tokie": Tokie,
    "quicktok": Quicktok,
    "rs_bpe": RsBpe,
    "riptoken": Riptoken,
    "tiktoken": Tiktoken,
    "tokenizers": Tokenizers,
}

# On the registry the names quicktok and toktok belong to other programs.
DISTRIBUTIONS = {tool: tool for tool in ENCODERS} | {"quicktok": "quicktok-v1", "toktok": "toktok-rs"}
