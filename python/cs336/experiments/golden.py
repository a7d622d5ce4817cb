"""What the course's files must give, to the token: sizes, documents and counts on which many independent reports agree.

Only whole files with the course's tokenizers are known: 10,000 tokens trained on TinyStories, 32,000 on the sample of
OpenWebText, each with `<|endoftext|>` and GPT-2's pattern. Any other file has no golden count.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_BY_LINES = (
    "that is what encoding line by line gives: a line that ends in a space becomes one pretoken with its line feed"
)


@dataclass(frozen=True, kw_only=True)
class GoldenFile:
    """A file of the course.

    Attributes:
        name: Its name.
        num_bytes: Its size, by which it is recognised.
        num_documents: Documents in it; each is followed by one `<|endoftext|>`.
        num_tokens: Ids that it encodes to, by the size of the course's vocabulary.
        wrong_counts: Counts that are known to come from a mistake, and from which.
    """

    name: str
    num_bytes: int
    num_documents: int
    num_tokens: Mapping[int, int]
    wrong_counts: Mapping[int, str]


GOLDEN_FILES = (
    GoldenFile(
        name="TinyStoriesV2-GPT4-train.txt",
        num_bytes=2_227_753_162,
        num_documents=2_717_699,
        num_tokens={10_000: 541_229_347},
        wrong_counts={540_796_778: _BY_LINES},
    ),
    GoldenFile(
        name="TinyStoriesV2-GPT4-valid.txt",
        num_bytes=22_502_601,
        num_documents=27_630,
        num_tokens={10_000: 5_465_883, 32_000: 5_617_816},
        wrong_counts={5_461_210: _BY_LINES},
    ),
    GoldenFile(
        name="owt_train.txt",
        num_bytes=11_920_511_059,
        num_documents=2_399_397,
        num_tokens={32_000: 2_727_120_452},
        wrong_counts={},
    ),
    GoldenFile(
        name="owt_valid.txt",
        num_bytes=289_998_753,
        num_documents=59_059,
        num_tokens={32_000: 66_401_098, 10_000: 91_369_966},
        wrong_counts={},
    ),
)
# which of the files the course's tokenizer of a size is trained on
TRAINED_ON = {10_000: "TinyStoriesV2-GPT4-train.txt", 32_000: "owt_train.txt"}


def golden_file(num_bytes: int) -> GoldenFile | None:
    """Return the course's file of this size, or None: it is another file."""
    return next((file for file in GOLDEN_FILES if file.num_bytes == num_bytes), None)


def check_golden(
    *, num_bytes: int, num_documents: int, num_tokens: int, vocab_size: int, trained_on_bytes: int
) -> str | None:
    """Compare a file's counts with the golden ones.

    Args:
        num_bytes: Size of the encoded file.
        num_documents: `<|endoftext|>` ids in it.
        num_tokens: All ids in it.
        vocab_size: Of the tokenizer.
        trained_on_bytes: Size of the file that the tokenizer was trained on.

    Returns:
        What agrees, in words; None if nothing is known of this file with this tokenizer.

    Raises:
        ValueError: The file is the course's, and a count is wrong; says by how much, and from which mistake if known.
    """
    file = golden_file(num_bytes)
    if file is None:
        return None
    if num_documents != file.num_documents:
        raise ValueError(
            f"{file.name} holds {file.num_documents:,} documents, {num_documents:,} ends of text came out; "
            "was <|endoftext|> declared as a special token?"
        )
    trained_on = golden_file(trained_on_bytes)
    if trained_on is None or TRAINED_ON.get(vocab_size) != trained_on.name:
        return f"{file.name}: {num_documents:,} documents, as known"
    expected = file.num_tokens.get(vocab_size)
    if expected is None:
        return f"{file.name}: {num_documents:,} documents, as known"
    if num_tokens != expected:
        mistake = file.wrong_counts.get(num_tokens)
        raise ValueError(
            f"{file.name} encodes to {expected:,} tokens with the course's {vocab_size:,}, got {num_tokens:,} "
            f"({num_tokens - expected:+,}){'; ' + mistake if mistake else ''}"
        )
    return f"{file.name}: {num_documents:,} documents and {num_tokens:,} tokens, as known"
