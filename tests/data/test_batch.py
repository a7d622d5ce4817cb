from collections import Counter

import numpy as np
import pytest
import torch

from cs336.data import TokenDataset, get_batch


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_targets_are_the_inputs_one_id_further_on():
    inputs, targets = get_batch(np.arange(100, dtype=np.uint16), 32, 7, generator=seeded())
    assert inputs.shape == targets.shape == (32, 7)
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(targets, inputs + 1)
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(7))


def test_every_start_is_drawn_equally_often():
    ids, context_length, num_draws = np.arange(20), 5, 30_000
    inputs, _ = get_batch(ids, num_draws, context_length, generator=seeded())
    counts = Counter(inputs[:, 0].tolist())
    assert set(counts) == set(range(15))  # 0 .. n - T - 1
    expected, sigma = num_draws / 15, (num_draws / 15 * 14 / 15) ** 0.5
    assert all(abs(count - expected) < 5 * sigma for count in counts.values())


def test_the_shortest_possible_sequence_has_one_window():
    inputs, targets = get_batch(np.array([3, 1, 2]), 4, 2, generator=seeded())
    assert inputs.tolist() == [[3, 1]] * 4
    assert targets.tolist() == [[1, 2]] * 4


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
def test_memory_maps_give_the_same_batch_as_arrays(tmp_path, dtype):
    ids = np.arange(1000).astype(dtype)
    np.save(tmp_path / "ids.npy", ids)
    expected = get_batch(ids, 4, 8, generator=seeded())
    for source in (np.load(tmp_path / "ids.npy", mmap_mode="r"), TokenDataset.open(tmp_path / "ids.npy")):
        batch = get_batch(source, 4, 8, generator=seeded())
        assert all(torch.equal(mine, other) for mine, other in zip(batch, expected, strict=True))


def test_large_uint32_ids_are_kept():
    inputs, _ = get_batch(np.full(10, 2**32 - 1, dtype=np.uint32), 1, 4)
    assert inputs.tolist() == [[2**32 - 1] * 4]


def test_batch_does_not_alias_the_data():
    ids = np.zeros(10, dtype=np.int64)
    inputs, targets = get_batch(ids, 1, 4)
    inputs.fill_(7)
    assert not ids.any()
    assert not targets.any()


def test_generator_alone_decides_the_batch():
    ids = np.arange(1000)
    torch.manual_seed(1)
    first = get_batch(ids, 4, 8, generator=seeded(3))[0]
    torch.manual_seed(2)
    assert torch.equal(first, get_batch(ids, 4, 8, generator=seeded(3))[0])
    assert not torch.equal(first, get_batch(ids, 4, 8, generator=seeded(4))[0])


@pytest.mark.parametrize(
    ("ids", "batch_size", "context_length", "message"),
    [
        (np.arange(8), 1, 8, r"context_length \+ 1 = 9 ids for one example, got 8"),
        (np.arange(0), 1, 8, r"got 0"),
        (np.zeros((4, 4), dtype=np.int64), 1, 2, r"must be one-dimensional .*, got int64 of shape \(4, 4\)"),
        (np.arange(8.0), 1, 2, "of an integer type, got float64"),
        (np.arange(8), 0, 2, "at least 1, got 0 and 2"),
        (np.arange(8), 1, 0, "at least 1, got 1 and 0"),
    ],
)
def test_impossible_batches_are_refused(ids, batch_size, context_length, message):
    with pytest.raises(ValueError, match=message):
        get_batch(ids, batch_size, context_length)


@pytest.mark.gpu
def test_batch_on_the_gpu_equals_the_one_on_the_cpu():
    ids = np.arange(1000)
    on_gpu = get_batch(ids, 4, 8, "cuda", generator=seeded())
    assert all(batch.is_cuda for batch in on_gpu)
    on_cpu = get_batch(ids, 4, 8, generator=seeded())
    assert all(torch.equal(mine.cpu(), other) for mine, other in zip(on_gpu, on_cpu, strict=True))
