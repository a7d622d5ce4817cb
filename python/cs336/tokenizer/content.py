"""A tokenizer's content as one canonical string of bytes: what is hashed to compare tokenizers, and what is pickled.

Equal content gives equal bytes, however the tokenizer was made. Layout, integers little-endian and 32 bits wide:
the length of the header; the header, JSON with sorted keys (`pattern`, always as a regular expression,
`special_tokens` in the order of their ids, `num_tokens`, `num_merges`, and `ignore_merges` if it is true); the ids in
ascending order; the length of each token in bytes; both ids of each merge in order of rank; the bytes of all tokens.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

_U32 = np.dtype("<u4")


class Content(NamedTuple):
    """What makes a tokenizer: the arguments of its constructor."""

    vocab: Mapping[int, bytes]
    merges: Sequence[tuple[bytes, bytes]]
    special_tokens: Sequence[str]
    pattern: str
    ignore_merges: bool = False


def pack(content: Content) -> bytes:
    """The canonical bytes of a tokenizer: no token has two ids, each merge and special token is in the vocabulary."""
    ids = sorted(content.vocab)
    tokens = [content.vocab[id_] for id_ in ids]
    id_of = dict(zip(tokens, ids, strict=True))
    arrays = [ids, [len(token) for token in tokens], [id_of[t] for merge in content.merges for t in merge]]
    numbers = [np.array(array, _U32).tobytes() for array in arrays]
    special_tokens = sorted(content.special_tokens, key=lambda token: id_of[token.encode()])
    header = pack_header(len(ids), len(content.merges), special_tokens, content.pattern, content.ignore_merges)
    return b"".join([header, *numbers, *tokens])


def pack_header(
    num_tokens: int, num_merges: int, special_tokens: Sequence[str], pattern: str, ignore_merges: bool
) -> bytes:
    """What stands before the numbers; the special tokens are in the order of their ids."""
    header: dict[str, Any] = {
        "num_merges": num_merges,
        "num_tokens": num_tokens,
        "pattern": pattern,
        "special_tokens": list(special_tokens),
    }
    if ignore_merges:  # else as before there was such a thing, so that hashes stay
        header["ignore_merges"] = True
    header_bytes = json.dumps(header, sort_keys=True).encode()
    return np.array([len(header_bytes)], _U32).tobytes() + header_bytes


def unpack(packed: bytes) -> Content:
    """The inverse of `pack`."""
    start = 4 + int(np.frombuffer(packed, _U32, 1)[0])
    header = json.loads(packed[4:start])
    num_tokens, num_merges = header["num_tokens"], header["num_merges"]
    numbers = np.frombuffer(packed, _U32, 2 * num_tokens + 2 * num_merges, start)
    ids, lengths, merges = np.split(numbers, [num_tokens, 2 * num_tokens])
    ends = start + numbers.nbytes + np.cumsum(lengths, dtype=np.int64)
    tokens = [packed[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]
    vocab = dict(zip(ids.tolist(), tokens, strict=True))
    pairs = [(vocab[left], vocab[right]) for left, right in merges.reshape(-1, 2).tolist()]
    return Content(vocab, pairs, header["special_tokens"], header["pattern"], header.get("ignore_merges", False))
