"""The directory of a Hugging Face checkpoint: config.json, weights as safetensors, the tokenizer."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cs336._disk import sync_directory
from cs336.model.hf.mapping import from_hf_config, from_hf_state, hf_shapes, to_hf_config, to_hf_state
from cs336.model.transformer import TransformerLM

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class SavedTokenizer(Protocol):
    """What exporting needs of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """The greatest id and one."""

    def save(self, path: Path, /) -> None:
        """Write a Hugging Face `tokenizer.json`."""

    def decode(self, ids: list[int], /) -> str:
        """Return the text of ids."""


def export_hf(
    model: TransformerLM,
    out: str | PathLike[str],
    *,
    tokenizer: SavedTokenizer | None = None,
    eos_id: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model as a directory that `transformers.AutoModelForCausalLM.from_pretrained` loads.

    It computes the same logits there, up to rounding. The directory is there whole or not at all.

    Args:
        model: Its parts must be those of a Llama, or with QK-norm of a Qwen3.
        out: The directory; must not exist, or be empty.
        tokenizer: Written beside the model, for `AutoTokenizer`.
        eos_id: The id that ends a text.
        dtype: Of the weights in the file: fp32, bf16 or fp16.

    Raises:
        OSError: `out` holds files, or cannot be written.
        ValueError: Hugging Face has no equivalent of the model, the tokenizer has more ids than it, the dtype is
            another, or `out` is the working directory.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(map(str, _DTYPES))}, got {dtype}")
    if tokenizer is not None and tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} ids, the model {model.config.vocab_size}; "
            "give the tokenizer that the model was trained with"
        )
    tables: dict[str, dict[str, Any]] = {
        "config.json": to_hf_config(model.config, eos_id=eos_id, dtype=dtype),
        "generation_config.json": {"eos_token_id": eos_id, "pad_token_id": eos_id, "do_sample": True},
    }
    if tokenizer is not None:
        eos = None if eos_id is None else tokenizer.decode([eos_id])
        tables["tokenizer_config.json"] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": model.config.context_length,
            "clean_up_tokenization_spaces": False,
            **({} if eos is None else {"eos_token": eos, "pad_token": eos}),
        }
    state = to_hf_state(model.config, model.state_dict())
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in state.items()}
    with _whole_directory(Path(out)) as aside:
        for name, table in tables.items():
            (aside / name).write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
        (aside / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
        if tokenizer is not None:
            tokenizer.save(aside / "tokenizer.json")


def import_hf(
    path: str | PathLike[str], *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> TransformerLM:
    """Return the model of a Llama or Qwen3 checkpoint; `Tokenizer.load` reads the `tokenizer.json` beside it.

    Args:
        path: A directory with config.json and either model.safetensors or model.safetensors.index.json and its shards.
        dtype: Of the weights in memory.
        device: Where the model lives.

    Raises:
        OSError: A file is missing or cannot be read.
        ValueError: A file is damaged, or the model has a part that we have no equivalent of; names file and part.
    """
    directory = Path(path)
    facts = _read_json(directory / "config.json")
    config, num_kv_heads = from_hf_config(facts, source=str(directory / "config.json"))
    expected = hf_shapes(config, num_kv_heads=num_kv_heads)
    tensors: dict[str, Tensor] = {}
    for file, names in _weight_files(directory):
        tensors |= _read_tensors(file, names, expected, dtype=dtype)
    if missing := sorted(expected.keys() - tensors.keys()):
        raise ValueError(f"{directory} lacks {_listed(missing)}, of the {len(expected)} tensors that its config names")
    model = TransformerLM(config, device=device, dtype=dtype, generator=torch.Generator())
    model.load_state_dict(from_hf_state(config, tensors, num_kv_heads=num_kv_heads))
    return model


def _weight_files(directory: Path) -> Iterator[tuple[Path, list[str] | None]]:
    """Yield each file of weights, and the names to take from it; None for all."""
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if single.exists():
        yield single, None
        return
    if not index.exists():
        pickled = next(directory.glob("pytorch_model*.bin"), None)
        hint = "" if pickled is None else f"; {pickled.name} is a pickle, which is not read: convert it to safetensors"
        raise FileNotFoundError(2, f"no model.safetensors and no model.safetensors.index.json{hint}", str(directory))
    places = _read_json(index).get("weight_map")
    if not isinstance(places, Mapping) or not all(isinstance(file, str) for file in places.values()):
        raise ValueError(f"{index}: weight_map must be a table of file names, got {places!r:.80}")
    for file in sorted(set(places.values())):
        if Path(file).name != file:
            raise ValueError(f"{index}: a shard must be a file beside it, got {file!r}")
        yield directory / file, [name for name, place in places.items() if place == file]


def _read_tensors(
    path: Path, names: list[str] | None, expected: Mapping[str, tuple[int, ...]], *, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Read tensors, each of which must be expected and have that shape.

    Passed over: the frequencies of rotary embeddings, which old checkpoints list though they follow from the config,
    and a head that the config says is the embedding.
    """
    try:
        with safe_open(path, framework="pt") as file:
            held = set(file.keys())
            if absent := sorted(set(names or ()) - held):
                raise ValueError(f"{path} lacks {_listed(absent)}, which the index says it holds")
            tensors = {}
            for name in sorted(held if names is None else names):
                if name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and name not in expected):
                    continue
                shape = tuple(file.get_slice(name).get_shape())
                if name not in expected:
                    raise ValueError(f"{path} holds {name}, which has no equivalent here")
                if shape != expected[name]:
                    raise ValueError(f"{path}: {name} must have shape {expected[name]} by the config, got {shape}")
                tensors[name] = file.get_tensor(name).to(dtype)
            return tensors
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error})") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got a {type(content).__name__}")
    return content


@contextlib.contextmanager
def _whole_directory(out: Path) -> Iterator[Path]:
    """Yield a directory to write into, which gets its name `out` when all is on the disk."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(errno.EEXIST, "it exists already; choose another directory", str(out))
    out = out.resolve()
    if out == Path.cwd():  # which would be replaced under the feet of whoever stands in it
        raise ValueError(f"{out} is the working directory; give the name of a directory in it")
    aside = out.with_name(f".{out.name}.tmp.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)  # what a crash left
    aside.mkdir(parents=True)
    try:
        yield aside
        for file in aside.iterdir():
            with file.open("rb+") as written:
                os.fsync(written.fileno())
        sync_directory(aside)
        aside.replace(out)
        sync_directory(out.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
