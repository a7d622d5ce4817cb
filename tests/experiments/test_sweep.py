import dataclasses
import json
import shlex
import shutil
import sys

import pytest

from cs336._memory import peak_resident_bytes, reset_peak_resident
from cs336.config import DataConfig
from cs336.experiments.executors import InTurn, SideBySide, Submitit
from cs336.experiments.recipe import load_recipe
from cs336.experiments.slurm_script import write_sbatch
from cs336.experiments.sweep import outcome_of, plan_sweep, run_sweep
from cs336.experiments.table import best_row, difference, tabulate
from cs336.train.loop import train

RATES = '[grid]\n"optim.lr" = [1e-3, 1e-2]\n'


@pytest.fixture
def data(data_dir):
    return DataConfig(
        train=str(data_dir / "train.npy"), valid=str(data_dir / "valid.npy"), tokenizer=str(data_dir / "tokenizer.json")
    )


def plan(path, data, tmp_path, *, overrides=(), **options):
    return plan_sweep(load_recipe(path, overrides=overrides), data=data, out=tmp_path / "out", **options)


def test_every_variant_runs_once_for_each_seed(tiny_recipe, data, tmp_path):
    outcomes = run_sweep(plan(tiny_recipe(RATES), data, tmp_path), InTurn())
    assert [outcome.state for outcome in outcomes] == ["done"] * 4
    rows = tabulate(outcomes)
    assert [(row.name, len(row.losses)) for row in rows] == [("lr=0.001", 2), ("lr=0.01", 2)]
    assert best_row(rows).name == "lr=0.01"
    change, error = difference(rows[1], rows[0])
    assert change == pytest.approx(rows[1].mean - rows[0].mean)
    assert error > 0


def test_what_is_done_is_passed_over_and_what_was_cut_off_goes_on(tiny_recipe, data, tmp_path):
    runs = plan(tiny_recipe(RATES), data, tmp_path)
    train(runs[0].config)
    train(runs[1].config, time_limit_s=1e-9)
    assert [outcome_of(run).state for run in runs] == ["done", "cut off", "missing", "missing"]
    begun, skipped = [], []

    class Recording(InTurn):
        def __call__(self, missing):
            begun.extend(run.run_dir for run in missing)
            super().__call__(missing)

    outcomes = run_sweep(runs, Recording(), on_skip=lambda outcome: skipped.append(outcome.planned.run_dir))
    assert skipped == [runs[0].run_dir]
    assert begun == [run.run_dir for run in runs[1:]]
    assert {outcome.state for outcome in outcomes} == {"done"}
    undisturbed = dataclasses.replace(runs[1].config, run_dir=str(tmp_path / "undisturbed"))
    assert train(undisturbed).valid_loss == outcomes[1].loss


def test_the_memory_of_a_run_is_its_own_and_not_that_of_what_its_process_did_before(tiny_recipe, data, tmp_path):
    runs = plan(tiny_recipe(RATES), data, tmp_path)
    before = peak_resident_bytes()
    if before is None or not reset_peak_resident():
        pytest.skip("this system cannot begin anew")
    bytearray(500_000_000)
    assert peak_resident_bytes() > 500_000_000
    row = tabulate(run_sweep(runs[:1], InTurn()))[0]
    assert 0 < row.memory_bytes < before + 300_000_000
    facts = json.loads((runs[0].run_dir / "run.json").read_text())
    (runs[0].run_dir / "run.json").write_text(json.dumps(facts | {"memory_of": "process"}))
    assert tabulate([outcome_of(runs[0])])[0].memory_bytes is None


def test_divergence_is_a_result_and_does_not_stop_the_sweep(tiny_recipe, data, tmp_path):
    grid = '[grid]\n"optim.lr" = [1e30, 1e-3]\n'
    overrides = ["model.norm=none", "optim.max_grad_norm=none"]
    outcomes = run_sweep(plan(tiny_recipe(grid), data, tmp_path, overrides=overrides), InTurn())
    assert [outcome.state for outcome in outcomes] == ["diverged", "diverged", "done", "done"]
    rows = tabulate(outcomes)
    assert rows[0].has_diverged
    assert rows[0].mean is None
    assert best_row(rows).name == "lr=0.001"


def test_a_loss_that_stays_finite_but_does_not_come_back_counts_as_divergence(tiny_recipe, data, tmp_path):
    run = plan(tiny_recipe(), data, tmp_path)[0]
    train(run.config)
    lines = [json.loads(line) for line in (run.run_dir / "metrics.jsonl").read_text().splitlines()]
    for record in lines:
        if record["kind"] == "valid":
            record["loss"] = 2.0 if record["step"] == 3 else 2.6
    (run.run_dir / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in lines))
    assert outcome_of(run).state == "diverged"


def test_unequal_budgets_are_refused_unless_allowed(tiny_recipe, data, tmp_path):
    path = tiny_recipe("[grid]\nbatch_size = [4, 8]\n")
    with pytest.raises(ValueError, match=r"different numbers of tokens, 192 \(batch_size=4\) to 384 \(batch_size=8\)"):
        plan(path, data, tmp_path)
    runs = plan(path, data, tmp_path, allow_mixed_budgets=True)
    with pytest.raises(ValueError, match="cannot be compared"):
        tabulate(map(outcome_of, runs))
    assert len(tabulate(map(outcome_of, runs), allow_mixed_budgets=True)) == 2


def test_a_schedule_that_outlasts_the_run_is_refused(tiny_recipe, data, tmp_path):
    with pytest.raises(ValueError, match="the schedule ends at step 60, the run at step 6"):
        plan(tiny_recipe(), data, tmp_path, overrides=["schedule.cosine_steps=60"])


def test_a_directory_with_another_sweep_is_refused_before_anything_runs(tiny_recipe, data, tmp_path):
    runs = plan(tiny_recipe(), data, tmp_path)
    train(runs[1].config)
    with pytest.raises(ValueError, match=r"holds a run with another config: optim.lr was 0.001, is 0.5"):
        plan(tiny_recipe(), data, tmp_path, overrides=["optim.lr=0.5"])


def test_the_error_names_the_settings_that_go_on_with_what_is_there(tiny_recipe, data, tmp_path):
    """As after an update that brought another default."""
    path = tiny_recipe(RATES)
    earlier = ["loss_chunk_size=1024", "optim.betas=[0.9, 0.99]", "model.qk_norm=true", "optim.max_grad_norm=none"]
    train(plan(path, data, tmp_path, overrides=earlier)[0].config)
    with pytest.raises(ValueError, match=r"loss_chunk_size was 1024, is .*; to go on with it say --set") as refused:
        plan(path, data, tmp_path)
    words = shlex.split(str(refused.value).partition("say ")[2].partition(", otherwise choose")[0])
    said = [word for word in words if word != "--set"]
    assert sorted(said) == sorted(earlier)
    assert outcome_of(plan(path, data, tmp_path, overrides=said)[0]).state == "done"


def test_the_error_promises_nothing_where_the_difference_is_the_variants_own(tiny_recipe, data, tmp_path):
    train(plan(tiny_recipe(RATES), data, tmp_path)[0].config)
    other = tmp_path / "out" / "lr=0.01" / "seed-0"
    shutil.move(tmp_path / "out" / "lr=0.001" / "seed-0", other)
    with pytest.raises(ValueError, match=r"optim.lr was 0.001, is 0.01; choose another directory \(--out\)$"):
        plan(tiny_recipe(RATES), data, tmp_path)


@pytest.mark.slow
def test_runs_side_by_side_give_the_results_of_runs_in_turn(tiny_recipe, data, tmp_path):
    runs = plan(tiny_recipe(), data, tmp_path)
    apart = run_sweep(runs, SideBySide(num_jobs=2))
    shutil.move(tmp_path / "out", tmp_path / "apart")
    in_turn = run_sweep(runs, InTurn())
    assert [outcome.loss for outcome in apart] == [outcome.loss for outcome in in_turn]


@pytest.mark.slow
def test_failed_runs_are_named_after_the_others_are_done(tiny_recipe, data, tmp_path):
    runs = plan(tiny_recipe(), data, tmp_path)
    runs[0].run_dir.mkdir(parents=True)
    (runs[0].run_dir / "config.toml").write_text("not TOML")
    with pytest.raises(ValueError, match=r"1 of 2 runs failed; read .*seed-0\.log"):
        SideBySide(num_jobs=2)(runs)
    assert outcome_of(runs[1]).state == "done"


@pytest.mark.parametrize("cluster", ["debug", pytest.param("local", marks=pytest.mark.slow)])
def test_an_array_of_jobs_through_submitit(tiny_recipe, data, tmp_path, cluster):
    """`debug` does the jobs in this process, `local` pickles each into a process of its own, as SLURM gets it."""
    pytest.importorskip("submitit")
    runs = plan(tiny_recipe(), data, tmp_path)
    outcomes = run_sweep(runs, Submitit(folder=tmp_path / "jobs", cluster=cluster))
    assert [outcome.state for outcome in outcomes] == ["done", "done"]


@pytest.mark.slow
def test_the_script_for_sbatch_as_tasks_of_submitits_local_executor(tiny_recipe, data, tmp_path):
    submitit = pytest.importorskip("submitit")
    runs = plan(tiny_recipe(), data, tmp_path)
    script = write_sbatch(runs, tmp_path / "out", name="tiny", command=f"{sys.executable} -m cs336")
    executor = submitit.LocalExecutor(folder=tmp_path / "jobs")
    executor.update_parameters(timeout_min=5)
    with executor.batch():
        jobs = [
            executor.submit(
                submitit.helpers.CommandFunction(["env", f"SLURM_ARRAY_TASK_ID={task}", "bash", str(script)])
            )
            for task in range(len(runs))
        ]
    for job in jobs:
        job.result()
    assert [outcome_of(run).state for run in runs] == ["done", "done"]
