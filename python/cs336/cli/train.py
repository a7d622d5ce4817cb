"""`cs336 train`."""

import dataclasses
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cs336.cli.display import print_result
from cs336.cli.exit import ExitCode, UsageError, signal_exit_code
from cs336.cli.live import show_training


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a language model on token files.

    The run is described by a TOML file and overrides; `--print-config` shows every setting. A run directory holds
    run.json, metrics.jsonl, notes.log, config.toml, tokenizer.json, curve.png and checkpoints/. Ctrl-C, SIGTERM or
    SIGUSR1 finishes the step, saves, and exits with 130, 143 or 138; `--resume` goes on. With several devices:
    torchrun --nproc-per-node N -m cs336 train ...

    Attributes:
        config: TOML file with the settings.
        set_: Override a setting, such as optim.lr=1e-3; can be repeated.
        run_dir: Directory of the run, instead of the config's run_dir.
        resume: Go on with the run in the run directory; its own config.toml serves if no --config is given.
        print_config: Print the complete settings as TOML and exit.
        json: Print the result as JSON.
    """

    config: Path | None = None
    set_: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE"), tyro.conf.UseAppendAction] = ()
    run_dir: Path | None = None
    resume: bool = False
    print_config: bool = False
    json: bool = False

    def run(self) -> int:
        """Train and print the result."""
        from cs336.config import load_config, to_toml
        from cs336.train.distributed import is_first_by_environment
        from cs336.train.launch import main

        config_path = self.config
        if config_path is None and self.resume and self.run_dir is not None:
            config_path = self.run_dir / "config.toml"
        if config_path is None and not self.set_:
            raise UsageError("say what to train: --config FILE, or --set data.train=FILE and more; see train --help")
        config = load_config(config_path, overrides=self.set_)
        if self.run_dir is not None:
            config = dataclasses.replace(config, run_dir=str(self.run_dir))
        if self.print_config:
            sys.stdout.write(to_toml(config))
            return ExitCode.OK
        is_first = is_first_by_environment()
        with show_training(config.run_dir, num_steps=config.num_steps, is_quiet=not is_first) as display:
            result = main(config, resume=self.resume, on_record=display)
        if is_first:
            print_result(dataclasses.asdict(result), as_json=self.json)
        if result.status == "diverged":
            raise ValueError(
                f"the loss was not finite after step {result.step:,}; lower optim.lr or "
                f"lengthen schedule.warmup_steps (last good checkpoint: {result.checkpoint or 'none'})"
            )
        if result.signal is None:
            return ExitCode.OK
        if is_first:
            sys.stderr.write(f"go on with: cs336 train --run-dir {shlex.quote(result.run_dir)} --resume\n")
        return signal_exit_code(result.signal)
