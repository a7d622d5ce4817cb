import platform
import subprocess
import sys

import pytest
import torch

from cs336.train.device import choose_precision, cpu_threads, default_num_threads

# the page faults of allocating 64 MB ten times over, once the memory has been there
FAULTS = """
import resource, sys
import torch
from cs336.train.device import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for round in range(11):
    if round == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    parts = [torch.zeros(8 << 18) for _ in range(8)]
    del parts
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_that_was_freed_is_there_again_without_the_system() -> None:
    faults = {}
    for what in ("keep", "leave"):
        done = subprocess.run([sys.executable, "-c", FAULTS, what], capture_output=True, text=True, check=True)
        faults[what] = int(done.stdout)
    num_pages = 10 * 64 * 2**20 // 4096
    assert faults["keep"] < num_pages / 20
    assert faults["leave"] > num_pages / 20  # else there is nothing to gain, and the call should go


def test_the_number_of_threads_is_what_it_was_after_the_block() -> None:
    before = torch.get_num_threads()
    with cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_omp_num_threads_is_heard_if_it_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = default_num_threads()
    for asked, expected in (("37", 37), ("0", cores), ("2,1", cores), ("", cores)):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert default_num_threads() == expected


def test_a_precision_that_was_asked_for_is_taken() -> None:
    assert choose_precision("bf16", torch.device("cpu")) == "bf16"
    assert choose_precision("auto", torch.device("cpu")) in ("fp32", "bf16")


@pytest.mark.parametrize("computes", [True, False])
def test_auto_is_bf16_only_where_a_gpu_does_not_emulate_it(monkeypatch: pytest.MonkeyPatch, computes: bool) -> None:
    # a V100 or T4 has bf16 tensors, and multiplies them many times slower than fp32 ones
    def is_supported(including_emulation: bool = True) -> bool:
        return computes or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert choose_precision("auto", torch.device("cuda")) == ("bf16" if computes else "fp32")
