"""Tensors and JSON facts as the bytes of one safetensors file, and the digests that guard them."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

_METADATA_KEY = "cs336"  # the only one: safetensors writes several in no fixed order


def to_safetensors(tensors: Mapping[str, Tensor], *, metadata: dict[str, Any] | None) -> bytes:
    """Return a file of tensors, with JSON facts in its header unless those are None."""
    stored, storages = {}, set()
    for name, tensor in tensors.items():
        host = tensor.detach().cpu().contiguous()
        storage = host.untyped_storage().data_ptr()
        stored[name] = host.clone() if storage in storages else host  # tied weights: the format has no aliases
        storages.add(storage)
    header = {"format": "pt"} if metadata is None else {_METADATA_KEY: json.dumps(metadata)}
    return safetensors.torch.save(stored, metadata=header)


def from_safetensors(content: bytes, source: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and facts of a file.

    Raises:
        ValueError: It is damaged or none of ours; the message names `source`.
    """
    try:
        tensors = safetensors.torch.load(content)
        header_size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + header_size])["__metadata__"]
        facts = json.loads(metadata.get(_METADATA_KEY, "{}"))
        if not isinstance(facts, dict):
            raise ValueError(f"its metadata must be a JSON object, got a {type(facts).__name__}")
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{source} is damaged or no checkpoint of cs336 ({error}); use an earlier checkpoint"
        ) from error
    return tensors, facts


def digest_of(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """Return a SHA-256 over names, types, shapes and values of tensors, and over facts."""
    digest = hashlib.sha256(canonical_json(facts))
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:
    """Return JSON that is the same for equal values, written or read back."""
    as_read_back = json.loads(json.dumps(value))  # keys that are numbers become strings before they are sorted
    return json.dumps(as_read_back, sort_keys=True, separators=(",", ":")).encode()
