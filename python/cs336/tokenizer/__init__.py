"""Text <-> token ids: byte-pair encoding, trained and applied in Rust. Imports neither torch nor any extra."""

from cs336.tokenizer.counting import CountSummary, count_pretokens, merge_counts
from cs336.tokenizer.encoding import Encoding
from cs336.tokenizer.stream import DecodeStream
from cs336.tokenizer.tokenizer import EncodeStats, Tokenizer
from cs336.tokenizer.training import train_bpe, train_superbpe

__all__ = [
    "CountSummary",
    "DecodeStream",
    "EncodeStats",
    "Encoding",
    "Tokenizer",
    "count_pretokens",
    "merge_counts",
    "train_bpe",
    "train_superbpe",
]
