"""One model on several devices: whole on each (DDP), or every parameter cut into shares (FSDP2)."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from cs336.model import TransformerLM
from cs336.train.distributed import Ranks

Strategy = Literal["ddp", "fsdp"]


def shard(objective: nn.Module, model: TransformerLM, ranks: Ranks) -> None:
    """Cut the parameters into a share for each rank, gathered layer by layer while they are used (FSDP2).

    Call it before the optimizer is built: afterwards the parameters are distributed tensors.
    """
    mesh = torch.distributed.device_mesh.init_device_mesh(
        next(model.parameters()).device.type, (ranks.world_size,), mesh_dim_names=("data",)
    )
    for layer in model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(objective, mesh=mesh)


def replicate(objective: nn.Module, device: torch.device) -> nn.Module:
    """Return a module whose backward pass leaves on every rank the mean of all ranks' gradients (DDP)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the name that PyTorch has for it since 2.15 is unknown before
        return DistributedDataParallel(
            objective,
            device_ids=[device] if device.type == "cuda" else None,
            broadcast_buffers=False,  # RoPE's tables are constants
            gradient_as_bucket_view=True,
        )


@contextlib.contextmanager
def gathering_gradients(module: nn.Module, *, now: bool) -> Iterator[None]:
    """Exchange gradients in the backward pass inside only if `now`: once a step, after the last micro-batch."""
    if isinstance(module, DistributedDataParallel) and not now:
        with module.no_sync():
            yield
        return
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(now)
    yield


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor of which this rank may hold a share; every rank must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_share(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this rank holds."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def is_sharded(model: nn.Module) -> bool:
    """Return whether the ranks hold shares of the model rather than all of it."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole_model(model: TransformerLM, ranks: Ranks) -> TransformerLM | None:
    """Return a model that the first rank can use alone, None on the others; every rank must call it."""
    if not is_sharded(model):
        return model if ranks.is_first else None
    state = {name: whole(tensor) for name, tensor in model.state_dict().items()}
    if not ranks.is_first:
        return None
    copy = TransformerLM(model.config, device=next(iter(state.values())).device)
    copy.load_state_dict(state)
    copy.to_compute_dtype = model.to_compute_dtype
    return copy
