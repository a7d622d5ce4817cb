"""`cs336 export` and `cs336 import`: to and from a Hugging Face checkpoint."""

import dataclasses
import errno
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cs336.cli.display import print_result
from cs336.cli.exit import ExitCode
from cs336.cli.trained import model_of, open_checkpoint, tokenizer_of

if TYPE_CHECKING:
    from cs336.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a trained model as a Hugging Face checkpoint: config.json, model.safetensors, tokenizer.json.

    transformers, lm-eval, vLLM and others load it as a Llama, or a model with QK-norm as a Qwen3.

    Attributes:
        checkpoint: A run directory (its latest checkpoint is taken), or one checkpoint in it.
        out: Directory to write; must not exist, or be empty.
        dtype: Type of the weights in the file.
        tokenizer: tokenizer.json, if not the one saved in the run directory.
        json: Print the result as JSON.
    """

    checkpoint: Path
    out: Path
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    tokenizer: Path | None = None
    json: bool = False

    def run(self) -> int:
        """Export and print what was written."""
        import torch

        from cs336.model.hf import export_hf, to_hf_config

        checkpoint = open_checkpoint(self.checkpoint)
        tokenizer = tokenizer_of(checkpoint, self.tokenizer)
        model = model_of(checkpoint)
        dtype = getattr(torch, self.dtype)
        export_hf(model, self.out, tokenizer=tokenizer, eos_id=checkpoint.eos_id, dtype=dtype)
        values = {
            "out": str(self.out),
            "architecture": to_hf_config(model.config)["architectures"][0],
            "checkpoint": str(checkpoint.path),
            "step": checkpoint.step,
            "dtype": self.dtype,
            "num_parameters": sum(weight.numel() for weight in model.parameters()),
        }
        print_result(values, as_json=self.json)
        return ExitCode.OK


@dataclass(frozen=True, kw_only=True)
class Import:
    """Turn a Hugging Face Llama or Qwen3 checkpoint into a run directory, for `cs336 generate` and `cs336 export`.

    Attributes:
        model: Directory with config.json, the weights as safetensors, and tokenizer.json.
        run_dir: Run directory to write; must not hold a run.
        json: Print the result as JSON.
    """

    model: Path
    run_dir: Path
    json: bool = False

    def run(self) -> int:
        """Import and print what was written."""
        from cs336.model.hf import import_hf
        from cs336.optim import AdamW
        from cs336.train.checkpoint import write_checkpoint

        if self.run_dir.exists() and any(self.run_dir.iterdir()):
            raise FileExistsError(errno.EEXIST, "it holds files already; choose another directory", str(self.run_dir))
        model = import_hf(self.model)
        tokenizer = self._tokenizer()
        path = self.run_dir / "checkpoints" / "step_00000000"
        write_checkpoint(
            path,
            model=model,
            optimizer=AdamW(model.parameters()),
            step=0,
            config={"model": dataclasses.asdict(model.config)},
            state={},
            tokenizer_hash=None if tokenizer is None else tokenizer.sha256,
            eos_id=self._eos_id(tokenizer),
        )
        if tokenizer is not None:
            tokenizer.save(self.run_dir / "tokenizer.json")
        values = {
            "run_dir": str(self.run_dir),
            "checkpoint": str(path),
            "num_parameters": sum(weight.numel() for weight in model.parameters()),
            "tokenizer": None if tokenizer is None else str(self.run_dir / "tokenizer.json"),
        }
        print_result(values, as_json=self.json)
        return ExitCode.OK

    def _eos_id(self, tokenizer: "Tokenizer | None") -> int | None:
        """Return the id that ends a text: the (first) one that config.json names, or else the tokenizer's."""
        named = json.loads((self.model / "config.json").read_bytes()).get("eos_token_id")
        if isinstance(named, list) and named:  # of models that end a turn with another id than a text
            named = named[0]
        if isinstance(named, int):
            return named
        return None if tokenizer is None else tokenizer.eos_id

    def _tokenizer(self) -> "Tokenizer | None":
        """Load the tokenizer beside the weights; the weights are of use without it."""
        from cs336.tokenizer import Tokenizer

        path = self.model / "tokenizer.json"
        try:
            return Tokenizer.load(path)
        except (OSError, ValueError) as error:
            sys.stderr.write(
                f"cs336: warning: the weights are imported without a tokenizer, for {path} cannot be read ({error}); "
                "give one to `cs336 generate` with --tokenizer\n"
            )
            return None
