"""How much memory a text takes that is a single pretoken, and one that no window can take apart."""

import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import re, sys
    from pathlib import Path
    from cs336.tokenizer import Tokenizer

    # Tokens of 1, 2, 4, ... 4,096 letters: longer than what an ordinary long pretoken is read through.
    merges = [(b"a" * (1 << i), b"a" * (1 << i)) for i in range(12)]
    vocab = {i: bytes([i]) for i in range(256)} | {256 + i: left + right for i, (left, right) in enumerate(merges)}
    tokenizer = Tokenizer(vocab, merges)
    num_letters = int(sys.argv[1])
    text = "a" * num_letters

    status = Path("/proc/self/status")
    resident = lambda kind: 1024 * int(re.search(kind + r":\\s+(\\d+)", status.read_text())[1])
    tokenizer.encode_array(text[:100_000])
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = resident("VmRSS")
    ids = tokenizer.encode_array(text, num_threads=1)
    print(resident("VmHWM") - before)

    # As many of the longest as fit, and the rest in powers of two.
    whole, rest = divmod(num_letters, 1 << 12)
    expected = [255 + 12] * whole + [255 + i if i else 97 for i in reversed(range(12)) if rest >> i & 1]
    assert ids.tolist() == expected
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_long_pretoken_takes_less_than_ten_bytes_a_byte():
    num_letters = 20_000_003
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(num_letters)]
    peak = subprocess.run(command, check=True, timeout=300, stdout=subprocess.PIPE, text=True).stdout
    assert int(peak) < 10 * num_letters


GUESS = """
    import re, resource
    from pathlib import Path
    from cs336.tokenizer import Tokenizer

    vocab = {i: bytes([i]) for i in range(256)} | {256: b"th", 257: b"the", 258: b" the"}
    tokenizer = Tokenizer(vocab, [(b"t", b"h"), (b"th", b"e"), (b" ", b"the")])
    text = " the" * 8_000_000
    tokenizer.encode_array(text[:3_000_000], num_threads=1)
    size_bytes = 1024 * int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    # The ids take 32 MB; room is made for an id in two bytes, which would take 64.
    resource.setrlimit(resource.RLIMIT_AS, (size_bytes + 60_000_000, -1))
    ids = tokenizer.encode_array(text, num_threads=1)
    assert len(ids) == 8_000_000 and (ids == 258).all()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ids_that_fit_are_made_even_if_more_had_been_expected():
    subprocess.run([sys.executable, "-c", textwrap.dedent(GUESS)], check=True, timeout=300)
