"""The processes that train one model together: who they are, and what they tell one another.

One process a device, started by torchrun, by submitit, or alone. Each reads its share of the same global batch, so
that a run depends on its config and not on how many take part, up to the order in which sums are formed. Losing one of
them ends the run with a clear error on the others; the last checkpoint is the way back.

Two groups: the default one carries gradients (NCCL on GPUs), a second one over gloo carries words on the CPU, so that
what the ranks tell one another never waits for a GPU.
"""

import contextlib
import datetime
import errno
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor
from torch import distributed as dist

T = TypeVar("T")

# gloo and NCCL raise plain RuntimeErrors; these words are in what they say when the other side is gone
_SIGNS_OF_LOSS = (
    *("connection closed", "connection reset", "connection refused", "broken pipe", "timed out", "timeout"),
    *("remote process", "socket", "ncclremoteerror", "peer", "aborted"),
)
_TIMEOUT = datetime.timedelta(minutes=30)  # a checkpoint of a large model is written by one while the others wait


class LostRankError(ConnectionError):
    """Another process of the run is gone, and what it had in memory with it."""


@dataclass
class Ranks:
    """This process among those that train together.

    Attributes:
        rank: Number of this process; 0 writes the run directory and the display.
        world_size: Number of processes.
        local_rank: Number of this process on its machine.
        words: The group for what is no gradient; None if this process is alone.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    words: Any = field(default=None, repr=False)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def are_several(self) -> bool:
        """Whether there is anybody to talk to."""
        return self.world_size > 1

    def share(self, num_rows: int) -> slice:
        """Return this rank's rows of a global batch.

        Raises:
            ValueError: The rows cannot be shared out evenly.
        """
        if num_rows % self.world_size:
            raise ValueError(f"batch_size must be divisible by the {self.world_size} ranks, got {num_rows}")
        size = num_rows // self.world_size
        return slice(self.rank * size, (self.rank + 1) * size)

    def sum(self, value: float) -> float:
        """Return the sum of what all ranks bring, in double precision; every rank gets the same bits."""
        if not self.are_several:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(total, group=self.words)
        return total.item()

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over ranks of a tensor, on its device; every rank gets the same bits."""
        if self.are_several:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.world_size
        return values

    def any(self, is_so: bool) -> bool:
        """Return whether it is so on any rank."""
        return self.sum(float(is_so)) > 0

    def from_first(self, make: Callable[[], T]) -> T:
        """Return on all ranks what `make` returns on the first; the others do not call it.

        Raises:
            Exception: `make` failed on the first rank: the error itself there, a ValueError with its words elsewhere.
        """
        if not self.are_several:
            return make()
        message: list[Any] = [None, None]
        failure: Exception | None = None
        if self.is_first:
            try:
                message[0] = make()
            except Exception as error:  # passed on to all, and raised below
                failure, message[1] = error, str(error)
        dist.broadcast_object_list(message, src=0, group=self.words)
        if failure is not None:
            raise failure
        if message[1] is not None:
            raise ValueError(f"rank 0 stopped: {message[1]}")
        return cast(T, message[0])

    def gather(self, value: T) -> list[T]:
        """Return what all ranks bring, in their order."""
        if not self.are_several:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.words)
        return cast(list[T], values)

    @contextlib.contextmanager
    def naming_losses(self, where: Callable[[], str]) -> Iterator[None]:
        """Turn the transport's complaint about a process that is gone into an error that says what to do.

        Raises:
            LostRankError: Another rank ended; `where` says how far this one was.
        """
        try:
            yield
        except RuntimeError as error:
            if not self.are_several or not any(sign in str(error).lower() for sign in _SIGNS_OF_LOSS):
                raise
            raise LostRankError(
                errno.ECONNABORTED,
                f"rank {self.rank} of {self.world_size} lost another rank {where()}; "
                "see the other ranks' output for the cause, then go on from the last checkpoint with --resume",
            ) from error


ALONE = Ranks()


class Agreement:
    """What one rank wants of all of them, asked at every step without anybody waiting for it."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._asked: Tensor | None = None
        self._answer: Any = None

    def reach(self, wish: int) -> int:
        """Return the greatest wish of all ranks: at once if alone, else that of the call before.

        What the ranks ask travels while the next step is computed; all of them get the same answer at the same call.
        Every rank must call this equally often.
        """
        if not self._ranks.are_several:
            return wish
        answer = 0
        if self._asked is not None:
            self._answer.wait()
            answer = int(self._asked.item())
        self._asked = torch.tensor(max(wish, answer), dtype=torch.int64)
        self._answer = dist.all_reduce(self._asked, op=dist.ReduceOp.MAX, group=self._ranks.words, async_op=True)
        return answer

    def close(self) -> None:
        """Wait for what is under way: nothing of one run may be left for the next."""
        if self._answer is not None:
            with contextlib.suppress(RuntimeError):  # the others may be gone
                self._answer.wait()


def launcher(environment: Mapping[str, str] = os.environ) -> Literal["torchrun", "submitit"] | None:
    """Return who started this process as one of several; None if it is alone."""
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return "torchrun"
    if "SUBMITIT_EXECUTOR" in environment:
        return "submitit"
    return None


def is_first_by_environment() -> bool:
    """Return whether this process is the first or the only one, before it has joined the others."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that were started together, as the environment tells; alone, do nothing.

    Args:
        device: The config's: `cpu` takes gloo, a GPU NCCL.

    Raises:
        ValueError: The environment variables of the launcher are not numbers, or are incomplete.
        LostRankError: The others did not come.
    """
    if launcher() == "submitit":
        import submitit  # noqa: PLC0415  (whoever started the job has it; nobody else needs it)

        submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
    if launcher() is None or _number("WORLD_SIZE") == 1:
        yield Ranks()
        return
    rank, world_size, local_rank = _number("RANK"), _number("WORLD_SIZE"), _number("LOCAL_RANK")
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    ranks = Ranks(rank=rank, world_size=world_size, local_rank=local_rank)
    with ranks.naming_losses(lambda: "while it waited for all to start"):
        dist.init_process_group("cuda:nccl,cpu:gloo" if on_gpu else "gloo", timeout=_TIMEOUT)
        ranks.words = dist.new_group(backend="gloo", timeout=_TIMEOUT)
    are_whole = True
    try:
        yield ranks
    except LostRankError:
        are_whole = False  # NCCL would wait for the one that is gone
        raise
    finally:
        if are_whole:
            dist.destroy_process_group()


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    if not text.isdecimal():
        raise ValueError(
            f"{name} must be a number where several processes train together, got {text!r}; start with torchrun"
        )
    return int(text)
