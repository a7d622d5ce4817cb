from pathlib import Path

import pytest
import torch

from cs336.model import ModelConfig, TransformerLM
from cs336.optim import AdamW
from cs336.train.distributed import ALONE
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
