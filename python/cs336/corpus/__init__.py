"""Files of documents -> token shards: every document and byte accounted for, resumable at any moment.

plan(inputs, tokenizer=..., out=...)   what is to be done, written down once
run(plan)                              do it, or a share of it, from wherever it stands
verify(out)                            read everything again

Each name is imported when it is first used: the command line needs the options alone to explain itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cs336.corpus.executors import Progress
    from cs336.corpus.lock import CorpusLockedError
    from cs336.corpus.options import CorpusOptions
    from cs336.corpus.planning import Plan, plan
    from cs336.corpus.running import RunResult, TasksFailedError, run
    from cs336.corpus.verifying import Verification, verify

__all__ = [
    "CorpusLockedError",
    "CorpusOptions",
    "Plan",
    "Progress",
    "RunResult",
    "TasksFailedError",
    "Verification",
    "plan",
    "run",
    "verify",
]

_HOMES = {
    "CorpusLockedError": "lock",
    "CorpusOptions": "options",
    "Plan": "planning",
    "Progress": "executors",
    "RunResult": "running",
    "TasksFailedError": "running",
    "Verification": "verifying",
    "plan": "planning",
    "run": "running",
    "verify": "verifying",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
