import dataclasses
import os
from pathlib import Path

import pytest

from cs336.corpus.work import run_tasks


@dataclasses.dataclass(frozen=True)
class Touch:
    """Leaves a file for each try; some tasks fail, always or at first."""

    folder: Path

    def __call__(self, task):
        tries = len(list(self.folder.glob(f"{task}.*")))
        (self.folder / f"{task}.{tries}.{os.getpid()}").touch()
        if task == 3:
            raise ValueError("a bad record\nof two lines")
        if task == 4 and tries < 2:
            raise OSError(5, "the disk is dreaming")
        if task == 5:
            raise OSError(5, "the disk is dead")


def test_what_may_pass_is_tried_again_and_the_others_finish(tmp_path):
    done = []
    outcome = run_tasks(Touch(tmp_path), range(7), on_done=done.append)
    assert outcome.done == (0, 1, 2, 4, 6) == tuple(done)
    assert outcome.failed == {3: "a bad record of two lines", 5: "[Errno 5] the disk is dead"}
    tries = [len(list(tmp_path.glob(f"{task}.*"))) for task in range(7)]
    assert tries == [1, 1, 1, 1, 3, 3, 1]
    with pytest.raises(ValueError, match=r"2 of 7 tasks failed, the others are done \(task 3: a bad record"):
        outcome.check()


def test_interrupts_are_not_failures(tmp_path):
    def interrupted(task):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks(interrupted, range(2))


@pytest.mark.parametrize(
    ("options", "message"), [({"executor": "slurm"}, "'local' or 'ray'"), ({"attempts": 0}, "at least 1")]
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        run_tasks(print, range(1), **options)


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("cs336._extras.find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"the executor 'ray' needs ray: pip install 'cs336\[ray\]'"):
        run_tasks(print, range(1), executor="ray")
