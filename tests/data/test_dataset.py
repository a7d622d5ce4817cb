import struct

import numpy as np
import pytest

from cs336.data import TokenDataset
from cs336.data import dataset as dataset_module


def write(path, ids, dtype=np.uint16):
    np.save(path, np.asarray(ids, dtype=dtype))
    return path


def test_reads_what_was_written_without_loading_it(tmp_path):
    dataset = TokenDataset.open(write(tmp_path / "ids.npy", range(100)))
    assert isinstance(dataset.ids, np.memmap)
    assert len(dataset) == 100
    assert dataset[3:6].tolist() == [3, 4, 5]
    assert np.asarray(dataset).tolist() == list(range(100))
    assert np.shares_memory(np.asarray(dataset), dataset.ids)


def test_is_read_only(tmp_path):
    dataset = TokenDataset.open(write(tmp_path / "ids.npy", range(10)))
    with pytest.raises(ValueError, match="read-only"):
        dataset.ids[0] = 1


def test_empty_file_of_ids_is_fine(tmp_path):
    assert len(TokenDataset.open(write(tmp_path / "ids.npy", []), vocab_size=10)) == 0


def test_greatest_id_may_be_just_below_the_vocab_size(tmp_path):
    path = write(tmp_path / "ids.npy", [0, 9, 3])
    assert len(TokenDataset.open(path, vocab_size=10)) == 3
    with pytest.raises(ValueError, match="holds id 9, but the model's vocab_size is 9; encode with"):
        TokenDataset.open(path, vocab_size=9)


def test_an_id_out_of_range_is_found_in_any_part_of_a_long_file(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_module, "_SCAN_IDS", 8)
    for at in (0, 7, 8, 40, 49):
        ids = np.zeros(50)
        ids[at] = 300
        with pytest.raises(ValueError, match="holds id 300"):
            TokenDataset.open(write(tmp_path / "ids.npy", ids), vocab_size=300)


def test_negative_ids_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds id -1"):
        TokenDataset.open(write(tmp_path / "ids.npy", [4, -1], np.int64), vocab_size=10)


def test_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npy"):
        TokenDataset.open(tmp_path / "none.npy")


def npy(header, content=bytes(20)):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an array",
        b"\x93NUMPY",
        bytes(range(200)),
        b"PK\x03\x04 the beginning of an archive",
        npy("(((((("),
        npy("{'descr': '<u2', 'fortran_order': False, 'shape': (-1,)}"),
        npy("{'descr': '<u2', 'fortran_order': False, 'shape': (True,)}"),
        npy(f"{{'descr': '<u2', 'fortran_order': False, 'shape': ({10**30},)}}"),
    ],
)
def test_another_format_is_refused_with_the_remedy(tmp_path, content):
    path = tmp_path / "ids.bin"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"ids\.bin is not a whole \.npy file of token ids; write it with `cs336 tokenizer encode`"
    ):
        TokenDataset.open(path)


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"x"])
def test_file_of_another_size_than_its_header_says_is_refused(tmp_path, change):
    path = write(tmp_path / "ids.npy", range(1000))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match="not a whole"):
        TokenDataset.open(path)


@pytest.mark.parametrize(
    ("array", "found"),
    [(np.zeros((2, 3), dtype=np.int64), r"int64 of shape \(2, 3\)"), (np.zeros(3), r"float64 of shape \(3,\)")],
)
def test_other_arrays_are_refused(tmp_path, array, found):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=rf"x\.npy must be one-dimensional and of an integer type, got {found}"):
        TokenDataset.open(tmp_path / "x.npy")


def test_archives_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="not a whole"):
        TokenDataset.open(tmp_path / "x.npz")


def test_pickled_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="not a whole"):
        TokenDataset.open(tmp_path / "x.npy")
