"""The inputs of the encoding bench: parts of files, what is hard, what is short."""

import random
import sys
from pathlib import Path

from side_by_side import SEPARATOR

# Han with its extension A, kana, hangul: scripts written without spaces, or nearly.
CJK_RANGES = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7AF))
NUM_HARD_CHARACTERS = 1_000_000
SHORT_SIZES = (100, 400, 1_000, 4_000)
MIN_CJK_BYTES = 200_000


def cjk_part(source: Path, size_bytes: int, target: Path) -> Path | None:
    """The documents of a text that are mostly Chinese, Japanese or Korean; None if there are next to none."""
    chosen: list[str] = []
    num_bytes = 0
    for text in source.read_text(encoding="utf-8").split(SEPARATOR):
        if mostly_cjk(text) and num_bytes < size_bytes:
            chosen.append(text)
            num_bytes += len(text.encode())
    if num_bytes < MIN_CJK_BYTES:
        return None
    target.write_text(SEPARATOR.join(chosen), encoding="utf-8")
    return target


def mostly_cjk(text: str) -> bool:
    """Whether every second character of a sample is one, white space and punctuation counted as others."""
    sample = text[:: len(text) // 1000 + 1]
    return sum(any(first <= ord(c) <= last for first, last in CJK_RANGES) for c in sample) * 2 > len(sample) > 0


def hard_texts() -> dict[str, str]:
    """A million characters each of what makes encoders slow. Every run makes the same."""
    draw = random.Random(336)
    number = NUM_HARD_CHARACTERS
    return {
        "a": "a" * number,
        "spaces": " " * number,
        "random letters": "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=number)),
        "emoji": "".join(draw.choices([chr(code) for code in range(0x1F600, 0x1F650)], k=number)),
        "Latin-1 noise": "".join(draw.choices([chr(code) for code in range(0xA1, 0x100)], k=number)),
    }


def short_texts(path: Path, size: int) -> list[str]:
    """Texts of about so many bytes, one after the other from a file: at most 2,000, and at most 2 MB in all."""
    text = path.read_text(encoding="utf-8").replace(SEPARATOR, "")
    characters = max(1, round(size * len(text) / len(text.encode())))
    number = min(2_000, 2_000_000 // size, len(text) // characters)
    if number == 0:
        sys.exit(f"{path} is too short for texts of {size} bytes")
    return [text[n * characters : (n + 1) * characters] for n in range(number)]
