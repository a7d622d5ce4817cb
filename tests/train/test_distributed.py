"""Several ranks are processes over gloo here, started as seldom as possible: each start takes seconds."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from cs336.config import TrainConfig, to_toml
from cs336.train.checkpoint import read_checkpoint
from cs336.train.distributed import Agreement, Ranks, joined, launcher
from cs336.train.loop import train
from cs336.train.progress import TrainResult
from cs336.train.runlog import CLOCK_KEYS, read_metrics

WORKER = Path(__file__).with_name("rank_worker.py")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")

# fp32 sums in another order (each rank sums its half of the batch): a few units in the last place, over 12 steps
SAME = {"rel": 2e-5}


def variant(config: TrainConfig, name: str, **changes: Any) -> TrainConfig:
    return dataclasses.replace(config, run_dir=str(Path(config.run_dir).parent / name), **changes)


def start(arguments: list[str], *, num_ranks: int = 2) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(num_ranks)}
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_ranks)
    ]


def run_plan(plan: list[Mapping[str, Any]], place: Path) -> list[list[Any]]:
    """Make the runs on two ranks; return what each rank says of each run."""
    for index, run in enumerate(plan):
        (place / f"plan_{index}.toml").write_text(to_toml(run["config"]))
    named = [{**run, "config": str(place / f"plan_{index}.toml")} for index, run in enumerate(plan)]
    (place / "plan.json").write_text(json.dumps(named))
    processes = start([str(WORKER), str(place / "plan.json")])
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return [json.loads(out) for out, _ in outputs]


def measured(run: TrainConfig) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in CLOCK_KEYS} for record in read_metrics(run.run_dir)]


def weights(run: TrainConfig) -> dict[str, torch.Tensor]:
    checkpoint = read_checkpoint(Path(run.run_dir) / "checkpoints" / "step_00000012")
    assert checkpoint.optimizer_state is not None
    return checkpoint.model_state | {f"optimizer.{k}": v for k, v in checkpoint.optimizer_state[0].items()}


def assert_close_runs(one: TrainConfig, other: TrainConfig) -> None:
    for ours, theirs in zip(measured(one), measured(other), strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert theirs[key] == (pytest.approx(value, **SAME) if isinstance(value, float) else value)


def cut(config: TrainConfig, *, step: int = 6) -> TrainResult:
    """Train on this one rank, and stop it by a signal."""
    return train(config, on_record=lambda r: os.kill(os.getpid(), signal.SIGTERM) if r["step"] == step else None)


@dataclasses.dataclass(frozen=True)
class Runs:
    configs: dict[str, TrainConfig]
    said: dict[str, list[list[Any]]]


@pytest.fixture(scope="module")
def runs(module_config: TrainConfig) -> Runs:
    """Everything that two ranks must do, in one start of two processes."""
    base, place = module_config, Path(module_config.run_dir).parent
    sampling = {"sample_every": 6, "sample_prompts": ("a",), "sample_tokens": 3}
    configs = {name: variant(base, name, parallel=name[:4].rstrip("-"), **sampling) for name in NAMES}
    configs["one"] = variant(base, "one", **sampling)
    hard = {"optim": dataclasses.replace(base.optim, algorithm="muon"), "loss_chunk_size": 16}
    # 33 rows cannot be halved: the ranks' shares of two matrices differ
    hard["model"] = dataclasses.replace(base.model, tie_embeddings=True, qk_norm=True, d_ff=33)
    for name in HARD:
        configs[name] = variant(base, name, parallel=name[:4].rstrip("-"), **hard)
    train(configs["ddp-hard-one"])
    for name in COMPILED:
        configs[name] = variant(base, name, parallel=name[:4].rstrip("-"), compile=True, **sampling)
    configs["ddp-diverging"] = variant(base, "ddp-diverging", optim=dataclasses.replace(base.optim, lr=1e30))
    configs["ddp-odd"] = variant(base, "ddp-odd", batch_size=3)
    train(configs["one"])
    for name in ("ddp-from-one", "fsdp-from-one"):
        assert cut(configs[name]).step == 6
    stop = {"rank_and_step": [1, 5], "signal": int(signal.SIGTERM)}
    plan: list[tuple[str, dict[str, Any]]] = [
        ("ddp", {}),
        ("fsdp", {}),
        *((name, stop) for name in ("ddp-cut", "fsdp-cut", "ddp-to-one", "fsdp-to-one")),
        *((name, {}) for name in ("ddp-cut", "fsdp-cut", "ddp-from-one", "fsdp-from-one")),
        *((name, {}) for name in (*HARD[1:], *COMPILED)),
        ("ddp-diverging", {}),
        ("ddp-odd", {}),
        ("ddp", {"resume": False}),
    ]
    outcomes = run_plan([{"config": configs[name], **how} for name, how in plan], place)
    said: dict[str, list[list[Any]]] = {}
    for index, (name, _) in enumerate(plan):
        said.setdefault(name, []).append([outcome[index] for outcome in outcomes])
    return Runs(configs, said)


COMPILED = ["ddp-compiled", "fsdp-compiled"]
HARD = ["ddp-hard-one", "ddp-hard", "fsdp-hard"]
NAMES = [f"{p}{rest}" for p in ("ddp", "fsdp") for rest in ("", "-cut", "-to-one", "-from-one")]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_ranks_measure_what_one_does(runs: Runs, strategy: str) -> None:
    assert runs.said[strategy][0] == [["finished", 12, None]] * 2
    assert_close_runs(runs.configs[strategy], runs.configs["one"])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_the_compiled_step_is_shared_out_too(runs: Runs, strategy: str) -> None:
    assert runs.said[f"{strategy}-compiled"][0] == [["finished", 12, None]] * 2
    assert_close_runs(runs.configs[f"{strategy}-compiled"], runs.configs["one"])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_muon_tied_embeddings_and_the_loss_in_chunks_are_shared_out_too(runs: Runs, strategy: str) -> None:
    assert runs.said[f"{strategy}-hard"][0] == [["finished", 12, None]] * 2
    assert_close_runs(runs.configs[f"{strategy}-hard"], runs.configs["ddp-hard-one"])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_signal_to_one_rank_stops_all_at_one_step_and_the_resumed_run_equals_an_undisturbed_one(
    runs: Runs, strategy: str
) -> None:
    interrupted, finished = runs.said[f"{strategy}-cut"]
    assert interrupted[0] == interrupted[1]
    assert interrupted[0][0] == "interrupted"
    assert interrupted[0][2] == signal.SIGTERM
    assert finished == [["finished", 12, None]] * 2
    ours, undisturbed = weights(runs.configs[f"{strategy}-cut"]), weights(runs.configs[strategy])
    assert ours.keys() == undisturbed.keys()
    assert all(torch.equal(ours[name], undisturbed[name]) for name in ours)
    assert measured(runs.configs[f"{strategy}-cut"]) == measured(runs.configs[strategy])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_what_two_ranks_began_one_can_end(runs: Runs, strategy: str) -> None:
    config = runs.configs[f"{strategy}-to-one"]
    assert train(config, resume=True).status == "finished"
    assert_close_runs(config, runs.configs["one"])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_what_one_rank_began_two_can_end(runs: Runs, strategy: str) -> None:
    assert runs.said[f"{strategy}-from-one"][0] == [["finished", 12, None]] * 2
    assert_close_runs(runs.configs[f"{strategy}-from-one"], runs.configs["one"])


@pytest.mark.slow
def test_shards_are_safetensors_and_nothing_else(runs: Runs) -> None:
    checkpoint = Path(runs.configs["fsdp"].run_dir) / "checkpoints" / "step_00000012"
    files = sorted(str(path.relative_to(checkpoint)) for path in checkpoint.rglob("*") if path.is_file())
    shards = [f"shard-{rank:05d}-model-00001-of-00001.safetensors" for rank in (1, 2)]
    assert files == [*(f"model/{name}" for name in shards), *(f"optimizer/{name}" for name in shards), "state.json"]
    damaged = checkpoint / "optimizer" / shards[1]
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(ValueError, match=r"optimizer/shard-00002.*is damaged: its checksum does not match"):
            read_checkpoint(checkpoint)
    finally:
        damaged.write_bytes(content)


@pytest.mark.slow
def test_all_ranks_see_a_divergence_and_a_refusal(runs: Runs) -> None:
    assert [status for status, *_ in runs.said["ddp-diverging"][0]] == ["diverged"] * 2
    for said in runs.said["ddp-odd"][0]:
        assert said == ["refused", "batch_size must be divisible by the 2 ranks, got 3"]
    first, second = runs.said["ddp"][1]
    assert "holds this run already" in first[1]
    assert second[1] == f"rank 0 stopped: {first[1]}"


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_with_a_clear_error_and_the_run_goes_on(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(to_toml(config))
    plan = [{"config": str(tmp_path / "run.toml"), "rank_and_step": [1, 8], "signal": int(signal.SIGKILL)}]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    survivor, victim = start([str(WORKER), str(tmp_path / "plan.json")])
    _, error = survivor.communicate(timeout=120)
    victim.communicate(timeout=120)
    assert victim.returncode == -signal.SIGKILL
    assert survivor.returncode == 1
    assert "LostRankError" in error
    assert "rank 0 of 2 lost another rank after step" in error
    assert "--resume" in error
    undisturbed = variant(config, "undisturbed")
    train(undisturbed)
    assert train(config, resume=True).status == "finished"
    assert_close_runs(config, undisturbed)


@pytest.mark.slow
def test_torchrun_runs_the_command_and_the_first_rank_speaks(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(to_toml(config))
    command = [*("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "cs336", "train")]
    arguments = ["--config", str(tmp_path / "run.toml"), "--json"]
    done = subprocess.run(
        [sys.executable, *command, *arguments], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "finished"
    assert json.loads((Path(config.run_dir) / "run.json").read_text())["num_ranks"] == 2
    assert (Path(config.run_dir) / "curve.png").exists()


@pytest.mark.slow
def test_a_submitit_job_of_two_tasks_is_a_run_of_two_ranks(config: TrainConfig, tmp_path: Path) -> None:
    submitit = pytest.importorskip("submitit")
    from cs336.train.launch import main

    executor = submitit.AutoExecutor(folder=str(tmp_path / "jobs"), cluster="local")
    executor.update_parameters(tasks_per_node=2, timeout_min=3)
    results = executor.submit(main, config, resume=True).results()
    assert [(result.status, result.step) for result in results] == [("finished", 12)] * 2
    assert json.loads((Path(config.run_dir) / "run.json").read_text())["num_ranks"] == 2


def test_rows_are_shared_out_without_gap_or_overlap() -> None:
    shares = [Ranks(rank=rank, world_size=3).share(12) for rank in range(3)]
    assert [row for share in shares for row in range(12)[share]] == list(range(12))
    with pytest.raises(ValueError, match="divisible by the 3 ranks, got 13"):
        Ranks(world_size=3).share(13)


def test_alone_nothing_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with joined("cpu") as ranks:
        assert (ranks.rank, ranks.world_size, ranks.are_several) == (0, 1, False)
        assert (Agreement(ranks).reach(3), ranks.sum(1.5), ranks.gather("a")) == (3, 1.5, ["a"])
    assert not torch.distributed.is_initialized()


def test_the_environment_names_the_launcher() -> None:
    assert launcher({}) is None
    assert launcher({"RANK": "0", "WORLD_SIZE": "2"}) == "torchrun"
    assert launcher({"SUBMITIT_EXECUTOR": "slurm"}) == "submitit"


def test_an_environment_that_is_incomplete_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "two")
    with (
        pytest.raises(ValueError, match=r"WORLD_SIZE must be a number .* got 'two'; start with torchrun"),
        joined("cpu"),
    ):
        pass


def test_only_the_transports_complaints_are_taken_for_a_lost_rank() -> None:
    ranks = Ranks(world_size=2)
    lost = pytest.raises(ConnectionError, match=r"rank 0 of 2 lost another rank after step 7; .* --resume")
    with lost, ranks.naming_losses(lambda: "after step 7"):
        raise RuntimeError("Connection closed by peer [127.0.0.1]:1")
    with pytest.raises(RuntimeError, match="shapes"), ranks.naming_losses(lambda: ""):
        raise RuntimeError("shapes do not match")
