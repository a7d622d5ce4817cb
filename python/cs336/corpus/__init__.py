"""Files of documents -> token shards: every document and byte accounted for, resumable at any moment.

plan(inputs, tokenizer=..., out=...)   what is to be done, written down once
run(plan)                              do it, or a share of it, from wherever it stands
verify(out)                            read everything again
"""

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
