import subprocess
import sys

import pytest

from cs336._memory import peak_resident_bytes, reset_peak_resident

PROGRAM = """
from cs336._memory import peak_resident_bytes, reset_peak_resident
before = peak_resident_bytes()
large = bytearray(200_000_000)
grown = peak_resident_bytes()
del large
kept = peak_resident_bytes()
assert reset_peak_resident()
print(before, grown, kept, peak_resident_bytes())
"""


def test_the_peak_stays_when_memory_is_given_back_and_begins_anew_when_reset():
    if not reset_peak_resident():
        pytest.skip("this system cannot begin anew")
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    before, grown, kept, anew = map(int, done.stdout.split())
    assert grown - before > 190_000_000
    assert kept >= grown - 1_000_000
    assert anew < before + 20_000_000


KEEPING = """
import numpy as np
from cs336._memory import peak_resident_bytes, reset_peak_resident
from cs336.train.device import keep_freed_memory
if not keep_freed_memory():
    raise SystemExit("not glibc")
before = peak_resident_bytes()
blocks = [np.ones(1_000_000) for _ in range(25)]
del blocks
grown = peak_resident_bytes()
assert reset_peak_resident()
print(before, grown, peak_resident_bytes())
"""


def test_memory_that_the_process_keeps_for_itself_does_not_count_after_a_reset():
    pytest.importorskip("torch")
    if not reset_peak_resident():
        pytest.skip("this system cannot begin anew")
    done = subprocess.run([sys.executable, "-c", KEEPING], check=False, capture_output=True, text=True)
    if "not glibc" in done.stderr:
        pytest.skip("this C library keeps nothing")
    before, grown, anew = map(int, done.stdout.split())
    assert grown - before > 190_000_000
    assert anew < before + 20_000_000


def test_a_process_that_holds_an_interpreter_holds_some_megabytes():
    assert 5_000_000 < peak_resident_bytes() < 100_000_000_000
