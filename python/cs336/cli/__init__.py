"""The command `cs336`: parse, call, print. Each verb imports what it needs when it runs, so that `--help` is quick.

Results go to stdout and everything else to stderr.
"""

import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from cs336.cli.account import Account
from cs336.cli.corpus import CorpusGroup
from cs336.cli.demo import Demo
from cs336.cli.download import Download
from cs336.cli.exit import ExitCode, run_guarded
from cs336.cli.experiments import ExperimentsGroup
from cs336.cli.generate import Generate
from cs336.cli.hf import Export, Import
from cs336.cli.runs import RunsGroup
from cs336.cli.studies import Report
from cs336.cli.sweep import Ablate, Sweep
from cs336.cli.tokenizer import TokenizerGroup
from cs336.cli.train import Train

_Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[TokenizerGroup, tyro.conf.subcommand("tokenizer")]
    | Annotated[CorpusGroup, tyro.conf.subcommand("corpus")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[RunsGroup, tyro.conf.subcommand("runs")]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Ablate, tyro.conf.subcommand("ablate")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Generate, tyro.conf.subcommand("generate")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Import, tyro.conf.subcommand("import")]
    | Annotated[Account, tyro.conf.subcommand("account")]
    | Annotated[Download, tyro.conf.subcommand("download")]
    | Annotated[ExperimentsGroup, tyro.conf.subcommand("experiments")]
)
_DESCRIPTION = """From raw text to a trained language model.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage,
130, 143 and 138 interrupted by SIGINT, SIGTERM and SIGUSR1."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_guarded(lambda: _run(arguments))


def parse(arguments: Sequence[str]) -> _Command:
    """Return the command that arguments ask for, without running it.

    Raises:
        SystemExit: They ask for help, or are refused.
    """
    return tyro.cli(
        _Command,
        prog="cs336",
        description=_DESCRIPTION,
        args=arguments,
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        import cs336

        sys.stdout.write(f"cs336 {cs336.__version__}\n")
        return ExitCode.OK
    try:
        command = parse(arguments)
    except SystemExit as stop:  # --help, or arguments that the parser refuses
        return stop.code if isinstance(stop.code, int) else ExitCode.USAGE
    except BrokenPipeError:
        raise
    except OSError as error:  # the help did not go out: parsing touches no other file
        raise OSError(error.errno, error.strerror, "stdout") from error
    return command.run()
