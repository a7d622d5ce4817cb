"""Checkpoints: weights, optimizer state and position of a run, as safetensors and JSON; nothing is ever unpickled.

Two forms. `save_checkpoint` and `load_checkpoint` are the handout's: one file or file object. `write_checkpoint` and
`read_checkpoint` are what the training loop uses: a directory, written aside and renamed, with

    model.safetensors      the state dict, readable by any safetensors reader
    optimizer.safetensors  its tensors as `<parameter index>.<name>`, and everything else as JSON in the metadata
    state.json             step, configuration, the loop's own state, tokenizer, and the SHA-256 of the other two

A run whose ranks hold shares of the model (FSDP2) writes directories `model/` and `optimizer/` of shards instead, also
safetensors (see `cs336.train.sharded`); `read_checkpoint` puts them together, so that either can be read on any number
of ranks. Every checksum is verified before anything is restored, and a restored optimizer continues bit for bit.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Any, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from cs336.train.distributed import Ranks
from cs336.train.durable import write_directory, write_file
from cs336.train.sharded import read_own_shares, read_shards
from cs336.train.state import OptimizerState, dump_optimizer, restore
from cs336.train.tensorfile import canonical_json, digest_of, from_safetensors, to_safetensors

_MODEL_FILE, _OPTIMIZER_FILE, STATE_FILE = "model.safetensors", "optimizer.safetensors", "state.json"


def save_checkpoint(
    model: nn.Module, optimizer: Optimizer, iteration: int, out: str | PathLike[str] | IO[bytes]
) -> None:
    """Save a model, its optimizer and the number of iterations done (handout, "Checkpointing").

    Raises:
        OSError: The file cannot be written; whatever the path held before is untouched.
    """
    optimizer_tensors, optimizer_facts = dump_optimizer(optimizer)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors.items()}
    facts = {"iteration": iteration, "optimizer": optimizer_facts}
    content = to_safetensors(tensors, metadata=facts | {"sha256": digest_of(tensors, facts)})
    if isinstance(out, str | PathLike):
        write_file(Path(out), content)
    else:
        out.write(content)


def load_checkpoint(src: str | PathLike[str] | IO[bytes], model: nn.Module, optimizer: Optimizer) -> int:
    """Restore what `save_checkpoint` saved, and return the iteration.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, or of a model or optimizer of another shape; nothing was restored.
    """
    source = str(src) if isinstance(src, str | PathLike) else "checkpoint"
    content = Path(src).read_bytes() if isinstance(src, str | PathLike) else src.read()
    tensors, facts = from_safetensors(content, source)
    if facts.pop("sha256", None) != digest_of(tensors, facts):
        raise ValueError(f"{source} is damaged or no checkpoint: its checksum does not match; use an earlier one")
    restore(
        model,
        _with_prefix(tensors, "model."),
        optimizer,
        (_with_prefix(tensors, "optimizer."), facts["optimizer"]),
        source=source,
    )
    return cast(int, facts["iteration"])


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint directory in memory, its checksums verified.

    Attributes:
        path: The directory.
        step: Number of optimizer steps done.
        config: Configuration of the run, as it was given to `write_checkpoint`.
        state: The training loop's own state, as JSON gives it back.
        tokenizer_hash: Content hash of the tokenizer that the model was trained with.
        eos_id: The id that ends a document, if there is one.
        model_state: State dict of the model, on the CPU.
        optimizer_state: Tensors and facts of the optimizer; None if it was not read.
    """

    path: Path
    step: int
    config: dict[str, Any]
    state: dict[str, Any]
    tokenizer_hash: str | None
    eos_id: int | None
    model_state: dict[str, Tensor]
    optimizer_state: OptimizerState | None

    def restore(self, model: nn.Module, optimizer: Optimizer | None = None) -> None:
        """Copy the weights into a model, and the state into an optimizer if one is given.

        Raises:
            ValueError: The model or the optimizer has another shape; nothing was restored.
        """
        if optimizer is not None and self.optimizer_state is None:
            raise ValueError("the optimizer's state was not read; use read_checkpoint(path, with_optimizer=True)")
        restore(model, self.model_state, optimizer, self.optimizer_state, source=str(self.path))


def write_checkpoint(
    path: str | PathLike[str],
    *,
    model: nn.Module,
    optimizer: Optimizer,
    step: int,
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    tokenizer_hash: str | None = None,
    eos_id: int | None = None,
) -> None:
    """Write a checkpoint directory that is there whole or not at all.

    Args:
        path: The directory; an earlier checkpoint there is replaced, its parents are made.
        model: Its state dict is written.
        optimizer: All its state is written.
        step: Number of optimizer steps done.
        config: Configuration of the run; must be JSON.
        state: What else the training loop needs to go on; must be JSON.
        tokenizer_hash: Content hash of the tokenizer.
        eos_id: The id that ends a document.

    Raises:
        OSError: The disk is full, the place cannot be written or holds other files; nothing changed under `path`.
        TypeError: `config`, `state` or the optimizer holds something that JSON cannot.
    """
    optimizer_tensors, optimizer_facts = dump_optimizer(optimizer)
    contents = {
        _MODEL_FILE: to_safetensors(model.state_dict(), metadata=None),
        _OPTIMIZER_FILE: to_safetensors(optimizer_tensors, metadata=optimizer_facts),
    }
    facts = {
        "step": step,
        "config": config,
        "state": state,
        "tokenizer_hash": tokenizer_hash,
        "eos_id": eos_id,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    contents[STATE_FILE] = state_file(facts)
    write_directory(Path(path), contents)


def state_file(facts: Mapping[str, Any]) -> bytes:
    """Return the content of `state.json`: the facts and their own checksum.

    Raises:
        TypeError: They hold something that JSON cannot.
    """
    digest = hashlib.sha256(canonical_json(facts)).hexdigest()
    return json.dumps({**facts, "state_sha256": digest}, indent=2).encode()


def read_checkpoint(path: str | PathLike[str], *, with_optimizer: bool = True) -> Checkpoint:
    """Read a checkpoint directory and verify its checksums; `Checkpoint.restore` then fills a model.

    Args:
        path: The directory.
        with_optimizer: Whether to read the optimizer's state too, twice the size of the weights.

    Raises:
        OSError: The directory or one of its files is missing or cannot be read.
        ValueError: A file is damaged.
    """
    path = Path(path)
    facts = _read_state(path)
    optimizer_state: OptimizerState | None = None
    if is_sharded_checkpoint(facts):
        for name in facts["sha256"]:
            if with_optimizer or not name.startswith("optimizer/"):
                _verify(path / name, facts["sha256"][name])
        model_state = read_shards(path / "model")
        if with_optimizer:
            optimizer_state = read_shards(path / "optimizer"), facts["optimizer"]
    else:
        model_state, _ = from_safetensors(_read_verified(path / _MODEL_FILE, facts), str(path / _MODEL_FILE))
        if with_optimizer:
            optimizer_file = path / _OPTIMIZER_FILE
            optimizer_state = from_safetensors(_read_verified(optimizer_file, facts), str(optimizer_file))
    return _checkpoint(path, facts, model_state, optimizer_state)


def read_own_checkpoint(
    path: str | PathLike[str], *, model: nn.Module, optimizer: Optimizer, ranks: Ranks
) -> Checkpoint:
    """Read of a checkpoint what this rank needs to restore its shares of a model (FSDP2); every rank calls it.

    The checksums of a sharded one are not verified again: `latest_checkpoint` has, and here no rank reads all of it.

    Raises:
        OSError, ValueError: As `read_checkpoint`.
    """
    path = Path(path)
    facts = _read_state(path)
    if not is_sharded_checkpoint(facts):
        return read_checkpoint(path)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def parameter_of(name: str) -> Tensor | None:
        index = int(name.partition(".")[0])
        return parameters[index] if index < len(parameters) else None

    model_state = read_own_shares(path / "model", model.state_dict().get, ranks=ranks)
    moments = read_own_shares(path / "optimizer", parameter_of, ranks=ranks)
    return _checkpoint(path, facts, model_state, (moments, facts["optimizer"]))


def _checkpoint(
    path: Path, facts: dict[str, Any], model_state: dict[str, Tensor], optimizer_state: OptimizerState | None
) -> Checkpoint:
    return Checkpoint(
        path=path,
        step=facts["step"],
        config=facts["config"],
        state=facts["state"],
        tokenizer_hash=facts["tokenizer_hash"],
        eos_id=facts["eos_id"],
        model_state=model_state,
        optimizer_state=optimizer_state,
    )


def latest_checkpoint(run_dir: str | PathLike[str]) -> Path | None:
    """Return the whole checkpoint of the greatest step in a run directory or its `checkpoints/`; None if there is none.

    Torn and damaged ones are passed over, at the cost of reading each candidate once.
    """
    state_files = (file for place in ("*", "checkpoints/*") for file in Path(run_dir).glob(f"{place}/{STATE_FILE}"))
    found = [file.parent for file in state_files if file.parent.suffix != ".tmp"]
    for path in sorted(found, key=_step_or_less, reverse=True):
        try:
            facts = _read_state(path)
            for name, digest in facts["sha256"].items():
                _verify(path / name, digest)
        except (OSError, ValueError):
            continue
        return path
    return None


def _step_or_less(path: Path) -> int:
    try:
        return cast(int, _read_state(path)["step"])
    except (OSError, ValueError):
        return -1


def _read_state(path: Path) -> dict[str, Any]:
    state_file = path / STATE_FILE
    try:
        facts = json.loads(state_file.read_bytes())
        expected = facts.pop("state_sha256")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{state_file} is damaged or no checkpoint's ({error!r}); use an earlier checkpoint"
        ) from error
    if expected != hashlib.sha256(canonical_json(facts)).hexdigest():
        raise ValueError(f"{state_file} is damaged: its checksum does not match; use an earlier checkpoint")
    return cast(dict[str, Any], facts)


def is_sharded_checkpoint(facts: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint with this `state.json` consists of shards."""
    return "optimizer" in facts


def _read_verified(path: Path, facts: dict[str, Any]) -> bytes:
    content = path.read_bytes()
    _check_digest(path, hashlib.sha256(content).hexdigest(), facts["sha256"][path.name])
    return content


def _verify(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        _check_digest(path, hashlib.file_digest(file, "sha256").hexdigest(), expected)


def _check_digest(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise ValueError(f"{path} is damaged: its checksum does not match; use an earlier checkpoint")


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
