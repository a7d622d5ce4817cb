import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cs336.data import TokenDataset, get_batch
from cs336.data.sharded import ShardedIds


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.data())
def test_several_arrays_read_as_one(sizes, data):
    whole = np.arange(sum(sizes), dtype=np.uint16)
    sharded = ShardedIds(np.split(whole, np.cumsum(sizes)[:-1]))
    assert (len(sharded), sharded.shape, sharded.dtype) == (len(whole), whole.shape, whole.dtype)
    assert sharded.nbytes == whole.nbytes
    assert np.array_equal(np.asarray(sharded), whole)
    begin, end = (data.draw(st.integers(-len(whole) - 2, len(whole) + 2)) for _ in range(2))
    assert np.array_equal(sharded[begin:end], whole[begin:end])
    if len(whole):
        places = np.array(data.draw(st.lists(st.integers(-len(whole), len(whole) - 1), min_size=1))).reshape(1, -1)
        assert np.array_equal(sharded[places], whole[places])
        assert np.array_equal(sharded[places % len(whole)], sharded[(places % len(whole)).astype(np.uint64)])
        assert sharded[-1] == whole[-1]


def test_what_is_not_there_is_an_error():
    sharded = ShardedIds([np.arange(3), np.arange(2)])
    with pytest.raises(IndexError, match="out of range of 5 ids"):
        sharded[np.array([5])]
    with pytest.raises(IndexError, match="got bool"):
        sharded[np.array([True, False, True, False, False])]
    with pytest.raises(ValueError, match="slices of step 1"):
        sharded[::2]


def test_batches_are_drawn_across_shards(tmp_path):
    whole = np.arange(100, dtype=np.uint16)
    dataset = TokenDataset(ShardedIds([whole[:37], whole[37:]]), tmp_path)
    batches = [get_batch(ids, 16, 20, generator=torch.Generator().manual_seed(0)) for ids in (dataset, whole)]
    for sharded, plain in zip(*batches, strict=True):
        assert torch.equal(sharded, plain)
