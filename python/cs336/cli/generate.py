"""`cs336 generate`."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cs336.cli.display import print_result
from cs336.cli.exit import ExitCode

if TYPE_CHECKING:
    from cs336.tokenizer import Tokenizer
    from cs336.train.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Continue a prompt with a trained model.

    Attributes:
        checkpoint: A run directory (its latest checkpoint is taken), or one checkpoint in it.
        prompt: Text to continue; <|endoftext|> begins a new document.
        max_new_tokens: Most tokens to add.
        temperature: Below 1 plays safe, above 1 is daring, 0 always takes the likeliest token.
        top_k: Draw from the k likeliest tokens only.
        top_p: Draw from the smallest set of likeliest tokens with at least this mass.
        num_samples: How many continuations.
        seed: Makes the draws repeatable.
        device: auto, cpu or cuda.
        tokenizer: tokenizer.json, if not the one saved in the run directory.
        json: Print the result as JSON.
    """

    checkpoint: Path
    prompt: str
    max_new_tokens: int = 256
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    num_samples: int = 1
    seed: int | None = None
    device: str = "auto"
    tokenizer: Path | None = None
    json: bool = False

    def run(self) -> int:
        """Generate and print."""
        from cs336.config import TrainConfig, from_dict
        from cs336.generate import generate
        from cs336.model import TransformerLM
        from cs336.train.device import choose_device

        if not self.prompt:
            raise ValueError("the prompt is empty; give some text, or '<|endoftext|>' to begin a new document")
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")
        checkpoint = _read(self.checkpoint)
        tokenizer = _tokenizer_of(checkpoint, self.tokenizer)
        config = from_dict(TrainConfig, checkpoint.config, source=f"{checkpoint.path}/state.json")
        device = choose_device(self.device)
        model = TransformerLM(config.model, device=device)
        checkpoint.restore(model)
        begin = time.perf_counter()
        new_ids = generate(
            model,
            [tokenizer.encode(self.prompt)] * self.num_samples,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            stop_id=checkpoint.eos_id,
            num_ids=tokenizer.vocab_size,
            seed=self.seed,
        )
        elapsed_s = time.perf_counter() - begin
        texts = [tokenizer.decode(ids) for ids in new_ids]
        num_tokens = sum(map(len, new_ids))
        if self.json:
            facts = {"checkpoint": str(checkpoint.path), "step": checkpoint.step, "prompt": self.prompt}
            facts |= {"texts": texts, "ids": new_ids, "num_tokens": num_tokens, "elapsed_s": elapsed_s}
            print_result(facts, as_json=True)
        else:
            sys.stdout.write("\n\n".join(self.prompt + text for text in texts) + "\n")
            sys.stderr.write(
                f"{num_tokens} tokens, {num_tokens / max(elapsed_s, 1e-9):.0f} tokens/s, {checkpoint.path}\n"
            )
        return ExitCode.OK


def _read(path: Path) -> "Checkpoint":
    from cs336.train.checkpoint import latest_checkpoint, read_checkpoint

    if not path.is_dir():
        raise FileNotFoundError(2, "no such run directory or checkpoint", str(path))
    if (path / "state.json").exists():
        return read_checkpoint(path, with_optimizer=False)
    latest = latest_checkpoint(path)
    if latest is None:
        raise ValueError(f"{path} holds no whole checkpoint; give a run directory of `cs336 train` or one checkpoint")
    return read_checkpoint(latest, with_optimizer=False)


def _tokenizer_of(checkpoint: "Checkpoint", given: Path | None) -> "Tokenizer":
    """Return the tokenizer the model was trained with: ids of another one mean something else."""
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
