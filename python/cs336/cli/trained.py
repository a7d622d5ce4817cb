"""What training left: a checkpoint, its model and its tokenizer."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from cs336.model import TransformerLM
    from cs336.tokenizer import Tokenizer
    from cs336.train.checkpoint import Checkpoint


def open_checkpoint(path: Path) -> "Checkpoint":
    """Read a checkpoint, or the latest whole one of a run directory, without its optimizer.

    Raises:
        OSError: There is no such directory.
        ValueError: It holds no whole checkpoint.
    """
    from cs336.train.checkpoint import latest_checkpoint, read_checkpoint

    if not path.is_dir():
        raise FileNotFoundError(2, "no such run directory or checkpoint", str(path))
    if (path / "state.json").exists():
        return read_checkpoint(path, with_optimizer=False)
    latest = latest_checkpoint(path)
    if latest is None:
        raise ValueError(f"{path} holds no whole checkpoint; give a run directory of `cs336 train` or one checkpoint")
    return read_checkpoint(latest, with_optimizer=False)


def model_of(checkpoint: "Checkpoint", device: "torch.device | str" = "cpu") -> "TransformerLM":
    """Build the checkpoint's model and fill in its weights."""
    from cs336.config import from_dict
    from cs336.model import ModelConfig, TransformerLM

    shape = from_dict(ModelConfig, checkpoint.config["model"], source=f"{checkpoint.path}/state.json")
    model = TransformerLM(shape, device=device)
    checkpoint.restore(model)
    return model


def tokenizer_of(checkpoint: "Checkpoint", given: Path | None) -> "Tokenizer":
    """Return the tokenizer the model was trained with: ids of another one mean something else.

    Raises:
        ValueError: The run directory has none, or the given one is another.
    """
    from cs336.tokenizer import Tokenizer

    run_dir = checkpoint.path.parent.parent if checkpoint.path.parent.name == "checkpoints" else checkpoint.path.parent
    path = given or run_dir / "tokenizer.json"
    if given is None and not path.exists():
        raise ValueError(f"the run directory {run_dir} holds no tokenizer.json; name the tokenizer with --tokenizer")
    tokenizer = Tokenizer.load(path)
    if checkpoint.tokenizer_hash not in (None, tokenizer.sha256):
        raise ValueError(
            f"{path} is not the tokenizer this model was trained with: its hash is {tokenizer.sha256[:12]}, the "
            f"checkpoint's {str(checkpoint.tokenizer_hash)[:12]}"
        )
    return tokenizer
