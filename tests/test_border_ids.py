"""Which ids `decode` takes, and what it says of others."""

import numpy as np
import pytest

from cs336.tokenizer import Tokenizer

TOKENIZER = Tokenizer({i: bytes([i]) for i in range(256)}, [], ["<s>"])
IDS = [104, 105, 256]


class Index:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "u8", ">u2", ">i8"])
@pytest.mark.parametrize("layout", [lambda a: a, lambda a: np.repeat(a, 3)[::3], lambda a: a[::-1].copy()[::-1]])
def test_integer_arrays_of_any_type_and_layout(dtype, layout):
    array = layout(np.array([104, 105, 33], dtype))
    assert TOKENIZER.decode(array) == "hi!"
    assert TOKENIZER.decode_bytes(array) == b"hi!"


def test_any_iterable_of_integers():
    for ids in (IDS, tuple(IDS), iter(IDS), (i for i in IDS), dict.fromkeys(IDS), [np.uint16(104), Index(105), 256]):
        assert TOKENIZER.decode(ids) == "hi<s>"
    assert TOKENIZER.decode(range(65, 70)) == "ABCDE"
    assert TOKENIZER.decode(i % 64 + 32 for i in range(1_000)) == "".join(chr(i % 64 + 32) for i in range(1_000))


def test_a_memory_mapped_array_is_decoded(tmp_path):
    np.save(tmp_path / "ids.npy", np.array(IDS, np.uint16))
    assert TOKENIZER.decode(np.load(tmp_path / "ids.npy", mmap_mode="r")) == "hi<s>"


def test_a_tensor_is_decoded():
    torch = pytest.importorskip("torch")
    assert TOKENIZER.decode(torch.tensor(IDS)) == "hi<s>"


@pytest.mark.parametrize("bad", [-1, 257, 1 << 20, 1 << 32, 1 << 63, 1 << 80, -(1 << 80)])
def test_ids_out_of_range_are_named_with_position_and_range(bad):
    message = rf"id {bad} at position 2 .*0 to 256"
    with pytest.raises(ValueError, match=message):
        TOKENIZER.decode([104, 105, bad])
    with pytest.raises(ValueError, match=message):
        TOKENIZER.decode_bytes((104, 105, bad, 104))
    if -(1 << 63) <= bad < 1 << 63:
        with pytest.raises(ValueError, match=message):
            TOKENIZER.decode(np.array([104, 105, bad], np.int64))
    if 0 <= bad < 1 << 32:
        with pytest.raises(ValueError, match=message):
            TOKENIZER.decode(np.array([104, 105, bad], np.uint32))


def test_an_id_in_a_gap_of_the_vocabulary_has_no_token():
    gapped = Tokenizer({**{i: bytes([i]) for i in range(256)}, 300: b"ab"}, [])
    assert gapped.decode([300]) == "ab"
    with pytest.raises(ValueError, match="id 299 at position 0"):
        gapped.decode([299])


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        ([104, 1.0], "float"),
        ([104, "a"], "str"),
        ([104, None], "NoneType"),
        (["a", "b"], "str"),
        ("abc", "str"),
        (np.array([104.0]), "float64"),
        (np.array([[104, 105]]), "ndarray"),
        ([[104]], "list"),
    ],
)
def test_what_is_no_integer_is_a_type_error(ids, kind):
    with pytest.raises(TypeError, match=f"ids must be integers, got {kind} at position"):
        TOKENIZER.decode(ids)


def test_a_single_id_is_no_sequence():
    with pytest.raises(TypeError, match="not iterable"):
        TOKENIZER.decode(104)


def test_an_exception_of_an_iterator_comes_through():
    def ids():
        yield 104
        raise KeyError("source")

    with pytest.raises(KeyError, match="source"):
        TOKENIZER.decode(ids())
