import json
from pathlib import Path

import pytest

from cs336.train.curves import _distinct_names, plot_curves


def write_run(tmp_path: Path, *records: dict[str, object]) -> Path:
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "metrics.jsonl").write_text(lines)
    return tmp_path


def loss(kind: str, step: int, value: object) -> dict[str, object]:
    return {"kind": kind, "step": step, "tokens": 64 * step, "loss": value}


def test_both_losses_and_both_axes_are_in_the_picture(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path, *(loss(kind, s, 5 / s) for s in (1, 2, 3) for kind in ("train", "valid")))
    plot_curves(run_dir, tmp_path / "curve.svg", title="A run")
    svg = (tmp_path / "curve.svg").read_text()
    for words in ("training", "validation", "step", "tokens", "loss (nats per token)", "A run"):
        assert f"<!-- {words}" in svg  # matplotlib draws glyphs and leaves the text beside them
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []


@pytest.mark.parametrize("kinds", [("train",), ("valid",)])
def test_one_kind_of_loss_is_enough(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    plot_curves(write_run(tmp_path, *(loss(kind, 1, 2.0) for kind in kinds)), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_losses_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path, loss("train", 1, 2.0), loss("train", 2, "nan"), loss("diverged", 3, "inf"))
    plot_curves(run_dir, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").exists()


def test_a_run_without_losses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has recorded no loss yet"):
        plot_curves(write_run(tmp_path), tmp_path / "curve.png")
    with pytest.raises(FileNotFoundError):
        plot_curves(tmp_path / "gone", tmp_path / "curve.png")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("runs/lr=1/seed-0", "runs/lr=2/seed-0"), ["lr=1", "lr=2"]),
        (("runs/a/seed-0", "runs/a/seed-1"), ["seed-0", "seed-1"]),
        (("runs/a", "runs/b/c"), ["a", "b/c"]),
        (("runs/a",), ["a"]),
    ],
)
def test_runs_are_named_by_what_tells_them_apart(paths: tuple[str, ...], names: list[str]) -> None:
    assert list(_distinct_names(list(map(Path, paths))).values()) == names
