from pathlib import Path

import numpy as np
import pytest

from cs336.config import DataConfig, OptimConfig, ScheduleConfig, TrainConfig
from cs336.model import ModelConfig
from cs336.tokenizer import Tokenizer

EOS = "<|endoftext|>"


def build_config(tmp_path: Path) -> TrainConfig:
    """A run of 12 steps that takes a fraction of a second, on periodic ids that a model can learn."""
    ids = np.arange(3000, dtype=np.uint16) * 7 % 256
    np.save(tmp_path / "train.npy", ids)
    np.save(tmp_path / "valid.npy", ids[:333])
    Tokenizer({i: bytes([i]) for i in range(256)} | {256: EOS.encode()}, [], [EOS]).save(tmp_path / "tokenizer.json")
    return TrainConfig(
        data=DataConfig(
            train=str(tmp_path / "train.npy"),
            valid=str(tmp_path / "valid.npy"),
            tokenizer=str(tmp_path / "tokenizer.json"),
        ),
        model=ModelConfig(vocab_size=257, context_length=16, d_model=16, num_layers=1, num_heads=2, d_ff=32),
        optim=OptimConfig(lr=1e-2),
        schedule=ScheduleConfig(warmup_steps=2),
        run_dir=str(tmp_path / "run"),
        batch_size=4,
        steps=12,
        eval_every=4,
        checkpoint_every=5,
        keep_checkpoints=3,
        log_every=3,
        device="cpu",
        precision="fp32",
        num_threads=1,
    )


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    """The same in a directory of its own."""
    return build_config(tmp_path)


@pytest.fixture(scope="module")
def module_config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """The same for a whole module."""
    return build_config(tmp_path_factory.mktemp("module"))
