"""`cs336 demo`."""

import dataclasses
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cs336.cli.display import Watcher, print_result, watch
from cs336.cli.exit import ExitCode, signal_exit_code
from cs336.cli.live import show_training

if TYPE_CHECKING:
    from cs336.config import TrainConfig
    from cs336.experiments.demo import DemoResult


@dataclass(frozen=True, kw_only=True)
class Demo:
    """From raw text to generated text within minutes: tokenizer, token files, model, samples.

    Learns from the source of Python's standard library, or from your own files.

    Attributes:
        text: UTF-8 text files to learn from instead.
        run_dir: Directory for everything that comes out; an earlier demo in it is replaced.
        minutes: Time for the whole demo.
        steps: Train for so many steps whatever the time.
        vocab_size: Ids of the tokenizer.
        context_length: Tokens the model sees at once.
        d_model: Width of the model.
        num_layers: Blocks of the model.
        num_heads: Attention heads.
        batch_size: Sequences a step.
        lr: Highest learning rate.
        seed: Determines weights, batches and samples.
        device: auto, cpu or cuda.
        json: Print the result as JSON.
    """

    text: tuple[Path, ...] = ()
    run_dir: Path = Path("runs/demo")
    minutes: float = 3.5
    steps: int | None = None
    vocab_size: int = 4096
    context_length: int = 128
    d_model: int = 256
    num_layers: int = 4
    num_heads: int = 4
    batch_size: int = 16
    lr: float = 3e-3
    seed: int = 0
    device: str = "auto"
    json: bool = False

    def run(self) -> int:
        """Run the pipeline and print its summary."""
        from cs336.experiments.demo import DemoConfig, run_demo

        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "json"}
        config = DemoConfig(**options | {"run_dir": str(self.run_dir)})
        with watch() as watcher:
            result = run_demo(config, _Observer(watcher))
        if self.json:
            print_result(dataclasses.asdict(result), as_json=True)
        else:
            _print_summary(result)
        if result.train.status == "diverged":
            raise ValueError(f"the loss was not finite after step {result.train.step:,}; try a lower --lr")
        return ExitCode.OK if result.train.signal is None else signal_exit_code(result.train.signal)


class _Observer:
    """Shows the demo on stderr."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def on_stage(self, title: str, /) -> None:
        self._watcher.say(Text(f"▸ {title}", style="bold"))

    def on_notice(self, text: str, /) -> None:
        self._watcher.say(Text(f"  {text}"))

    def on_progress(self, stage: str, done: int, total: int, /) -> None:
        self._watcher(stage, done, total)

    @contextmanager
    def on_train(self, config: "TrainConfig", /) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        self._watcher.rest()
        with show_training("learning", num_steps=config.num_steps) as display:
            yield display


def _print_summary(result: "DemoResult") -> None:
    train = result.train
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_column(style="dim")
    facts.add_column(justify="right", style="bold")
    facts.add_column(style="dim")
    skipped = f", {result.num_skipped:,} skipped: empty or not UTF-8" if result.num_skipped else ""
    facts.add_row("corpus", f"{result.num_bytes:,} bytes", f"{result.num_documents:,} documents{skipped}")
    facts.add_row("tokens", f"{result.num_tokens:,}", f"{result.bytes_per_token:.2f} bytes/token on held-out text")
    facts.add_row("vocabulary", f"{result.vocab_size:,}", "")
    facts.add_row("model", f"{result.num_parameters:,} weights", f"{train.step:,} steps, {train.num_tokens:,} tokens")
    facts.add_row("training speed", f"{train.tokens_per_s:,.0f} tokens/s", "")
    if train.valid_loss is not None:
        bits = "" if train.bits_per_byte is None else f"{train.bits_per_byte:.3f} bits per byte"
        facts.add_row("validation loss", f"{train.valid_loss:.4f}", bits)
    stages = "  ".join(f"{name} {seconds:.1f} s" for name, seconds in result.stages_s.items())
    facts.add_row("time", f"{sum(result.stages_s.values()):.0f} s", stages)
    paths = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    paths.add_column(style="dim")
    paths.add_column(overflow="fold")
    for name, path in result.paths.items():
        paths.add_row(name, path)
    run_dir, prompt = shlex.quote(result.paths["run"]), shlex.quote(result.samples[0][0] if result.samples else "def")
    paths.add_row("more", f"{_this_command()} generate --checkpoint {run_dir} --prompt {prompt}")
    console = Console(highlight=False)
    for prompt, text in result.samples[:2]:
        body = Text(prompt, style="bold").append(_first_lines(text), style="not bold")
        console.print(Panel(body, box=box.ROUNDED, title="generated", title_align="left", border_style="dim"))
    console.print(Panel(Group(facts, Text(), paths), box=box.ROUNDED, title="cs336 demo", title_align="left"))


def _this_command() -> str:
    """Return how to call the command again; the environment that `make demo` sets up is on nobody's PATH."""
    called = Path(sys.argv[0])
    if called.stem != "cs336":
        return "python -m cs336"
    return "cs336" if shutil.which("cs336") else shlex.quote(str(called))


def _first_lines(text: str, count: int = 10) -> str:
    return "\n".join(text.splitlines()[:count])
