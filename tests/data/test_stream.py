import numpy as np
import pytest
import torch

from cs336.data import BatchStream, PermutedWindows, TokenDataset, fits_on

CPU = torch.device("cpu")


def stream(ids, *, device=CPU, batch_size=6, **options):
    order = PermutedWindows(len(ids), 8, seed=1)
    return BatchStream(ids, order, batch_size=batch_size, context_length=8, device=device, **options)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
def test_batches_are_the_orders_windows_with_targets_one_further_on(tmp_path, dtype):
    np.save(tmp_path / "ids.npy", np.arange(1000, dtype=dtype))
    dataset = TokenDataset.open(tmp_path / "ids.npy")
    inputs, targets = stream(dataset).batch(3)
    assert inputs.dtype == targets.dtype == torch.int64
    starts = torch.from_numpy(PermutedWindows(1000, 8, seed=1).starts(3, 6))
    assert torch.equal(inputs, starts[:, None] + torch.arange(8))
    assert torch.equal(targets, inputs + 1)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int32, np.uint8, ">u2", ">i4"])
def test_a_resident_file_gives_the_same_batches(dtype):
    greatest = np.iinfo(dtype).max
    ids = np.random.default_rng(0).integers(0, greatest, 500, endpoint=True).astype(dtype)
    ids[::7] = greatest  # as a signed number of that width this is -1
    on_host, on_device = stream(ids), stream(ids, is_resident=True)
    for step in (0, 5, 1):
        for mine, other in zip(on_device.batch(step), on_host.batch(step), strict=True):
            assert mine.dtype == torch.int64
            assert torch.equal(mine, other)


def test_ranks_together_read_the_batch_of_one():
    ids = np.arange(1000)
    whole = stream(ids).batch(4)[0]
    shares = [stream(ids, rows=slice(2 * rank, 2 * rank + 2)).batch(4)[0] for rank in range(3)]
    assert torch.equal(torch.cat(shares), whole)


def test_prefetched_batches_are_those_asked_for_in_any_order():
    ids = np.arange(1000)
    expected = stream(ids)
    ahead = stream(ids, device=torch.device("meta"))  # any device but the CPU has a thread gather ahead
    ahead._device = CPU
    assert ahead._prefetcher is not None
    for step in (0, 1, 2, 7, 8, 3, 3):
        assert torch.equal(ahead.batch(step)[0], expected.batch(step)[0])
        assert ahead._next is not None
        assert ahead._next[0] == step + 1


def test_files_stay_on_the_host_of_a_cpu():
    assert not fits_on(CPU, 1)


def test_a_file_is_kept_on_a_gpu_if_it_takes_a_quarter_of_the_free_memory_at_most(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (4000, 10_000))
    gpu = torch.device("cuda")
    assert fits_on(gpu, 1000)
    assert not fits_on(gpu, 1001)


def test_what_is_gathered_for_a_gpu_is_pinned_and_for_a_cpu_is_not(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    stream(np.arange(1000)).batch(0)
    assert not pinned
    ahead = stream(np.arange(1000), device=torch.device("cuda"))
    assert torch.equal(ahead._gather(3), pinned[0])


@pytest.mark.gpu
@pytest.mark.parametrize("is_resident", [True, False])
def test_batches_on_the_gpu_equal_those_on_the_cpu(is_resident):
    ids = np.random.default_rng(0).integers(0, 60_000, 5000, dtype=np.uint16)
    on_gpu, on_cpu = stream(ids, device=torch.device("cuda"), is_resident=is_resident), stream(ids)
    assert fits_on(torch.device("cuda"), ids.nbytes)
    for step in (0, 1, 5):
        for mine, other in zip(on_gpu.batch(step), on_cpu.batch(step), strict=True):
            assert mine.is_cuda
            assert torch.equal(mine.cpu(), other)
