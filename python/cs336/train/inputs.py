"""What a run reads: token files and tokenizer, opened and checked before anything is written."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from cs336.config import TrainConfig
from cs336.data import TokenDataset
from cs336.tokenizer import Tokenizer
from cs336.train.learner import open_dataset

_CHUNK = 1 << 20


class Inputs:
    """The files of a config.

    Attributes:
        tokenizer: None if the config names none.
        train: Training ids.
        valid: Held-out ids; None trains without validation.
        bytes_per_token: The held-out text's bytes per predicted id; None without validation or tokenizer.

    Raises:
        OSError: A file cannot be read.
        ValueError: The data does not fit the model, or samples are wanted without a tokenizer.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.tokenizer = _load_tokenizer(config)
        self.train = open_dataset(config, config.data.train, tokenizer=self.tokenizer)
        self.valid = (
            None
            if config.data.valid is None
            else open_dataset(config, config.data.valid, split="valid", tokenizer=self.tokenizer)
        )
        self.bytes_per_token = _bytes_per_token(self.valid, self.tokenizer, vocab_size=config.model.vocab_size)

    def facts(self) -> dict[str, Any]:
        """Return what tells these token files from others without reading all of them."""
        return {"train": _facts(self.train), "valid": _facts(self.valid)}

    def check_same(self, facts: Mapping[str, Any]) -> None:
        """Check that these are the files a run began with.

        Raises:
            ValueError: One of them is another.
        """
        for name, found in self.facts().items():
            if facts[name] != found:
                raise ValueError(
                    f"data.{name} is not the file this run began with ({facts[name]}), got {found}; "
                    "bring the file back or choose another run_dir"
                )


def _load_tokenizer(config: TrainConfig) -> Tokenizer | None:
    if config.data.tokenizer is None:
        if config.sample_every is not None and config.sample_prompts:
            raise ValueError("samples need the tokenizer: set data.tokenizer, or sample_every to none")
        return None
    tokenizer = Tokenizer.load(config.data.tokenizer)
    if tokenizer.vocab_size > config.model.vocab_size:
        raise ValueError(
            f"model.vocab_size must be at least the tokenizer's {tokenizer.vocab_size}, got {config.model.vocab_size}"
        )
    return tokenizer


def _bytes_per_token(valid: TokenDataset | None, tokenizer: Tokenizer | None, *, vocab_size: int) -> float | None:
    """Count the bytes of the predicted ids; special tokens mark the documents and are no text."""
    if tokenizer is None or valid is None:
        return None
    sizes = np.zeros(vocab_size, dtype=np.int64)
    for id_, token in tokenizer.vocab.items():
        sizes[id_] = len(token)
    sizes[list(tokenizer.special_tokens.values())] = 0
    targets = valid.ids[1:]
    num_bytes = sum(int(sizes[targets[i : i + _CHUNK]].sum()) for i in range(0, len(targets), _CHUNK))
    return num_bytes / len(targets) if num_bytes else None


def _facts(dataset: TokenDataset | None) -> dict[str, Any] | None:
    if dataset is None:
        return None
    ends = hashlib.sha256(dataset[:_CHUNK].tobytes() + dataset[-_CHUNK:].tobytes()).hexdigest()
    return {"num_tokens": len(dataset), "dtype": str(dataset.ids.dtype), "sha256_of_ends": ends}
