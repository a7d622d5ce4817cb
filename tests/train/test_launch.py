from pathlib import Path

import pytest

from cs336.config import TrainConfig
from cs336.train.launch import main


def test_a_run_ends_with_its_picture(config: TrainConfig) -> None:
    assert main(config).status == "finished"
    assert (Path(config.run_dir) / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_costs_no_run_its_result(config: TrainConfig) -> None:
    (Path(config.run_dir) / "curve.png").mkdir(parents=True)  # nothing can be renamed to it
    with pytest.warns(RuntimeWarning, match=r"curve could not be drawn .*curve.png.*: cs336 runs plot"):
        assert main(config).status == "finished"
