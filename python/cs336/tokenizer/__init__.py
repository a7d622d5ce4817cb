"""Text <-> token ids: byte-pair encoding, trained and applied in Rust. Imports neither torch nor any extra."""

from cs336.tokenizer.encoding import Encoding
from cs336.tokenizer.stream import DecodeStream
from cs336.tokenizer.tokenizer import EncodeStats, Tokenizer
from cs336.tokenizer.training import train_bpe, train_superbpe

__all__ = ["DecodeStream", "EncodeStats", "Encoding", "Tokenizer", "train_bpe", "train_superbpe"]
