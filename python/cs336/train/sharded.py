"""Checkpoints that every rank writes its share of, by `torch.distributed.checkpoint`, as safetensors.

Its usual format keeps its index as a pickle. We take its Hugging Face format instead: one safetensors file a rank, with
the place of each share in the file's own header. Nothing is unpickled, and any number of ranks can read it.
"""

import contextlib
import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer

from cs336.train.distributed import Ranks
from cs336.train.parallel import own_share
from cs336.train.state import dump_optimizer


def write_shards(aside: Path, *, model: nn.Module, optimizer: Optimizer, ranks: Ranks) -> dict[str, Any]:
    """Write this rank's share of weights and optimizer state; every rank calls it.

    Args:
        aside: An empty directory that all ranks see.
        model: Its parameters may be distributed tensors.
        optimizer: Likewise its state.
        ranks: Those that hold shares.

    Returns:
        What belongs into `state.json`, the same on all ranks: the optimizer's facts, and the checksum of every file.

    Raises:
        OSError: The disk is full, or the place cannot be written.
    """
    optimizer_tensors, optimizer_facts = dump_optimizer(optimizer)
    digests: dict[str, str] = {}
    for part, tensors in (("model", model.state_dict()), ("optimizer", optimizer_tensors)):
        # a tensor that is the same on all ranks is written by one of them
        writer = HuggingFaceStorageWriter(str(aside / part), save_distributed=True)
        with _naming_the_first_failure():
            save(_without_aliases(tensors), storage_writer=writer, process_group=ranks.words)
        own = aside / part / f"shard-{ranks.rank + 1:05d}-model-00001-of-00001.safetensors"
        if own.exists():
            with own.open("rb") as file:
                digests[f"{part}/{own.name}"] = hashlib.file_digest(file, "sha256").hexdigest()
    everybodys = ranks.gather(digests)
    return {"optimizer": optimizer_facts, "sha256": {name: sha for one in everybodys for name, sha in one.items()}}


def read_shards(directory: Path) -> dict[str, Tensor]:
    """Put the tensors of a directory of shards together, on the CPU, without any other rank.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file is no safetensors file of shards.
    """
    tensors = {name: torch.empty(meta.size, dtype=meta.properties.dtype) for name, meta in _index(directory).items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # as we ask
        load(tensors, storage_reader=HuggingFaceStorageReader(str(directory)), no_dist=True)
    return tensors


def read_own_shares(directory: Path, like: Callable[[str], Tensor | None], *, ranks: Ranks) -> dict[str, Tensor]:
    """Read of each tensor the share that this rank holds, whatever the shares were when written; every rank calls it.

    Args:
        directory: Of shards.
        like: Returns by name the tensor whose shape and distribution are wanted; None, or one of another shape, for a
            tensor that is read whole.
        ranks: Those that hold shares.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file is no safetensors file of shards.
    """
    tensors: dict[str, Tensor] = {}
    for name, meta in _index(directory).items():
        wanted = like(name)
        if wanted is not None and wanted.shape == meta.size:
            tensors[name] = torch.zeros_like(wanted)
        else:
            tensors[name] = torch.empty(meta.size, dtype=meta.properties.dtype)
    load(tensors, storage_reader=HuggingFaceStorageReader(str(directory)), process_group=ranks.words)
    return tensors


def _without_aliases(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tied weights: the format has no aliases."""
    stored, storages = {}, set()
    for name, tensor in tensors.items():
        storage = own_share(tensor).untyped_storage().data_ptr()
        stored[name] = tensor.detach().clone() if storage in storages else tensor
        storages.add(storage)
    return stored


@contextlib.contextmanager
def _naming_the_first_failure() -> Iterator[None]:
    """Raise what failed on the first of the ranks where something did, on all of them.

    PyTorch collects the failures into an error that is no `Exception`, which would pass every handler.
    """
    try:
        yield
    except CheckpointException as error:
        rank, (failure, _) = next(iter(error.failures.items()))
        if isinstance(failure, OSError):
            raise OSError(failure.errno, f"rank {rank}: {failure.strerror}", failure.filename) from failure
        raise RuntimeError(f"rank {rank} could not write its share: {failure}") from failure


def _index(directory: Path) -> dict[str, TensorStorageMetadata]:
    try:
        found = HuggingFaceStorageReader(str(directory)).read_metadata().state_dict_metadata
    except Exception as error:  # safetensors has an error of its own, the headers' JSON others
        if isinstance(error, OSError):
            raise
        raise ValueError(f"{directory} holds damaged shards ({error}); use an earlier checkpoint") from error
    return {name: meta for name, meta in found.items() if isinstance(meta, TensorStorageMetadata)}
