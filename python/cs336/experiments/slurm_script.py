"""A sweep as a script for `sbatch`, where jobs are handed in by hand: nothing of ours has to wait for them."""

import importlib.resources
import shlex
from collections.abc import Sequence
from pathlib import Path
from string import Template

from cs336.config import to_toml
from cs336.experiments.sweep import PlannedRun
from cs336.train.durable import write_file


def write_sbatch(
    runs: Sequence[PlannedRun],
    out: str | Path,
    *,
    name: str,
    at_once: int = 16,
    options: Sequence[str] = (),
    command: str = "cs336",
) -> Path:
    """Write each run's config and one array job that does them; return the script, `OUT/sweep.sbatch`.

    Args:
        runs: Of a sweep; those that are done pass at once when their task begins.
        out: Directory of the runs.
        name: Of the job.
        at_once: How many tasks run at the same time.
        options: For sbatch, such as `partition=gpu`; they win over the script's own.
        command: How to call `cs336` on the nodes.

    Raises:
        OSError: A file cannot be written.
        ValueError: There is nothing to do.
    """
    if not runs:
        raise ValueError("the sweep has no runs, so that there is nothing to submit")
    out = Path(out)
    (out / "jobs").mkdir(parents=True, exist_ok=True)
    paths = []
    for run in runs:
        path = run.run_dir.with_name(run.run_dir.name + ".toml")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, to_toml(run.config).encode())
        paths.append(path)
    template = Template((importlib.resources.files("cs336.experiments") / "slurm" / "sweep.sbatch").read_text("utf-8"))
    text = template.substitute(
        name=name,
        last=len(runs) - 1,
        at_once=at_once,
        out=out,
        extra="\n".join(f"#SBATCH --{option}" for option in options),
        configs="\n".join(f"  {shlex.quote(str(path))}" for path in paths),
        command=command,
    )
    script = out / "sweep.sbatch"
    write_file(script, text.encode())
    script.chmod(0o755)
    return script
