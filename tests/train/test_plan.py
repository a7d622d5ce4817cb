import dataclasses
from typing import Any, Literal

import pytest
import torch

from cs336.config import DataConfig, TrainConfig
from cs336.model import ModelConfig, TransformerLM
from cs336.train import plan
from cs336.train.distributed import Ranks
from cs336.train.objective import Objective

CPU = torch.device("cpu")
CONFIG = TrainConfig(data=DataConfig(train="x"), batch_size=48, steps=10, num_threads=2)


def planned(**changes: Any) -> plan.StepPlan:
    config = dataclasses.replace(CONFIG, **changes)
    return plan.plan_step(config, CPU, precision="fp32", num_rows=config.batch_size)


def test_a_cpus_micro_batch_is_an_even_part_that_fits_its_caches() -> None:
    assert planned().micro_batch_size == 16  # 4,096 tokens of 256
    assert planned(batch_size=50).micro_batch_size == 10
    assert planned(batch_size=7).micro_batch_size == 7
    assert planned(model=ModelConfig(context_length=8192)).micro_batch_size == 1


def test_ranks_with_less_memory_free_decide_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = Ranks(rank=0, world_size=2)
    monkeypatch.setattr(ranks, "gather", lambda size: [size, 4])
    config = dataclasses.replace(CONFIG, compile=True, cuda_graphs=True)
    shared = plan.plan_step(config, CPU, precision="fp32", num_rows=16, ranks=ranks)
    assert (shared.micro_batch_size, shared.cuda_graphs) == (4, False)


def test_what_the_config_says_is_taken() -> None:
    assert planned(micro_batch_size=5).micro_batch_size == 5
    assert planned(micro_batch_size=500).micro_batch_size == 48
    assert planned(compile=True).compiled
    assert not planned(compile=True, cuda_graphs=True).cuda_graphs  # a CPU has none


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"micro_batch_size": 48}, True),
        ({"micro_batch_size": 24}, False),  # the second micro-batch would overwrite the gradients of the first
        ({"micro_batch_size": 48, "cuda_graphs": False}, False),
        ({"micro_batch_size": 48, "compile": False}, False),
        ({"micro_batch_size": 48, "model": ModelConfig(context_length=512)}, False),  # enough work to hide the launches
        ({"micro_batch_size": 48, "model": ModelConfig(context_length=512), "cuda_graphs": True}, True),
    ],
    ids=str,
)
def test_cuda_graphs_are_for_steps_of_one_small_micro_batch(changes: dict[str, Any], expected: bool) -> None:
    config = dataclasses.replace(CONFIG, **{"compile": True} | changes)
    gpu = torch.device("cuda")
    assert plan.plan_step(config, gpu, precision="bf16", num_rows=48).cuda_graphs is expected


def test_the_chunks_of_the_loss_suit_the_device() -> None:
    assert planned().loss_chunk_size == 512
    assert planned(loss_chunk_size=None).loss_chunk_size is None
    assert planned(loss_chunk_size=7).loss_chunk_size == 7
    on_gpu = dataclasses.replace(CONFIG, micro_batch_size=8)
    assert plan.plan_step(on_gpu, torch.device("cuda"), precision="bf16", num_rows=48).loss_chunk_size == 4096


def test_compiling_waits_for_a_run_that_wins_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_has_compiler", lambda _: True)
    assert not planned(steps=10).compiled
    assert planned(steps=10_000).compiled
    monkeypatch.setattr(plan, "_has_compiler", lambda _: False)
    assert not planned(steps=10_000).compiled


def test_a_gpus_micro_batch_fits_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    config = dataclasses.replace(CONFIG, batch_size=512, model=ModelConfig())
    for free_gb, expected in ((16, 512), (12, 256), (80, 512), (2, 32), (0.1, 1)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free_gb: (int(free * 1e9), int(80e9)))
        size = plan.derived_micro_batch(config, gpu, "bf16", 512)
        assert size == expected
        if size > 1:
            assert size * plan.activation_bytes(config, "bf16") < free_gb * 1e9


def kept_bytes(config: TrainConfig, *, num_rows: int, precision: str) -> int:
    """Return the bytes that autograd keeps of a forward pass."""
    model = TransformerLM(
        config.model,
        compute_dtype=torch.bfloat16 if precision == "bf16" else None,
        generator=torch.Generator().manual_seed(0),
    )
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    ids = torch.zeros(num_rows, config.model.context_length, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = Objective(model, chunk_size=config.loss_chunk_size)(ids, ids)
    assert loss.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("chunk_size", [None, 64])
@pytest.mark.parametrize("attention", ["plain", "sdpa"])
def test_the_formula_for_activations_bounds_what_autograd_keeps_of_a_sequence(
    precision: str, chunk_size: int | None, attention: Literal["plain", "sdpa"]
) -> None:
    model = ModelConfig(vocab_size=500, context_length=64, d_model=64, num_layers=2, num_heads=4, d_ff=176)
    config = dataclasses.replace(
        CONFIG, model=dataclasses.replace(model, attention=attention), loss_chunk_size=chunk_size
    )
    of_8, of_4 = (kept_bytes(config, num_rows=rows, precision=precision) for rows in (8, 4))
    kept, formula = (of_8 - of_4) / 4, plan.activation_bytes(config, precision)
    assert 0.8 * formula < kept < 1.02 * formula


def test_the_base_model_at_512_sequences_fits_16_gb_in_one_pass() -> None:
    config = dataclasses.replace(CONFIG, batch_size=512, model=ModelConfig())
    state = 4 * 4 * 22_696_448  # weights, gradients, two moments
    assert state + 512 * plan.activation_bytes(config, "bf16") < 10.5e9
    whole_logits = dataclasses.replace(config, loss_chunk_size=None)
    assert state + 512 * plan.activation_bytes(whole_logits, "bf16") > 16e9


@pytest.mark.parametrize(
    ("number", "limit", "expected"), [(48, 16, 16), (50, 16, 10), (7, 16, 7), (7, 6, 1), (1, 9, 1)]
)
def test_largest_divisor(number: int, limit: int, expected: int) -> None:
    assert plan.largest_divisor(number, at_most=limit) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert plan.is_out_of_memory(error) is expected
