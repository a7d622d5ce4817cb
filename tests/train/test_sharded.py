import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cs336.model import ModelConfig, TransformerLM
from cs336.optim import AdamW
from cs336.train.checkpoint import latest_checkpoint, read_checkpoint, state_file
from cs336.train.distributed import ALONE
from cs336.train.durable import begin_directory, finish_directory, write_synced
from cs336.train.sharded import read_shards, write_shards
from cs336.train.state import dump_optimizer


def trained() -> tuple[TransformerLM, AdamW]:
    config = ModelConfig(vocab_size=20, context_length=8, d_model=8, num_layers=1, num_heads=2, d_ff=16)
    model = TransformerLM(config, generator=torch.Generator().manual_seed(0))
    optimizer = AdamW(model.parameters())
    model(torch.arange(8)[None]).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_shards_of_one_rank_are_read_back(tmp_path: Path) -> None:
    model, optimizer = trained()
    facts = write_shards(tmp_path, model=model, optimizer=optimizer, ranks=ALONE)
    assert sorted(name.partition("/")[0] for name in facts["sha256"]) == ["model", "optimizer"]
    for part, expected in (("model", model.state_dict()), ("optimizer", dump_optimizer(optimizer)[0])):
        found = read_shards(tmp_path / part)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_place_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("in the way")
    with pytest.raises(OSError, match=r"model"):
        write_shards(tmp_path, model=trained()[0], optimizer=trained()[1], ranks=ALONE)


def test_damaged_shards_are_refused(tmp_path: Path) -> None:
    (tmp_path / "shard-00001-model-00001-of-00001.safetensors").write_bytes(b"junk")
    with pytest.raises(ValueError, match="holds damaged shards"):
        read_shards(tmp_path)


def put(run_dir: Path, step: int, *, fatal_event: int | None = None) -> None:
    """Write a sharded checkpoint as `Shelf` does; die, as by kill -9, at the n-th change to the file system."""
    model, optimizer = trained()
    if fatal_event is not None:
        num_events = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal num_events
            is_writing = event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
            if is_writing or event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir"):
                num_events += 1
                if num_events == fatal_event:
                    os._exit(9)

        sys.addaudithook(hook)
    path = run_dir / "checkpoints" / f"step_{step:08d}"
    aside = begin_directory(path)
    facts = write_shards(aside, model=model, optimizer=optimizer, ranks=ALONE)
    more = {"step": step, "config": {}, "state": {}, "tokenizer_hash": None, "eos_id": None}
    write_synced(aside / "state.json", state_file(more | facts))
    finish_directory(path)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled", "ignore:This process.*multi-threaded")
def test_shards_are_whole_or_absent_wherever_a_rank_dies(tmp_path: Path) -> None:
    put(tmp_path, 1)
    event, code = 0, 9
    while code == 9:
        event += 1
        child = os.fork()
        if child == 0:
            put(tmp_path, 1 + event % 2, fatal_event=event)  # a new one, and one in place of another
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        found = latest_checkpoint(tmp_path)
        assert found is not None
        assert read_checkpoint(found).step in (1, 2)
    assert code == 0
    assert event > 8
