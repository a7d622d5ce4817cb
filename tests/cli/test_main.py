import os
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

import cs336 as package
from cs336.cli.exit import ExitCode, UsageError, run_guarded


@pytest.mark.parametrize("verb", [[], ["tokenizer"], ["tokenizer", "train"], ["train"], ["generate"], ["demo"]])
def test_help_is_printed_on_stdout(cs336, verb):
    outcome = cs336(*verb, "--help")
    assert outcome.code == ExitCode.OK
    assert "usage: cs336" in outcome.out


def test_help_names_the_exit_codes(cs336):
    assert "Exit codes: 0 done, 1 failed, 2 wrong usage" in cs336("--help").out


@pytest.mark.parametrize(
    "arguments", [[], ["frobnicate"], ["train", "--no-such-option"], ["account", "--d-model", "x"]]
)
def test_wrong_usage_ends_with_2_and_says_so_on_stderr(cs336, arguments):
    outcome = cs336(*arguments)
    assert outcome.code == ExitCode.USAGE
    assert outcome.out == ""
    assert outcome.err


def test_version(cs336):
    assert cs336("--version").out == f"cs336 {package.__version__}\n"


def test_help_imports_neither_torch_nor_numpy():
    program = "import sys, cs336.cli; cs336.cli.main(['--help']); print({'torch', 'numpy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_the_tokenizer_verbs_do_without_torch(tmp_path):
    (tmp_path / "text.txt").write_text("to be or not to be")
    program = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('torch', 'safetensors', 'matplotlib', 'jaxtyping'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from cs336.cli import main\n"
        "sys.exit(main(['tokenizer', 'train', 'text.txt', '--vocab-size', '260', '-o', 't.json']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments", [["account"], ["train", "--set", "steps=1"], ["demo"]])
def test_a_missing_extra_is_one_line_that_names_the_command(tmp_path, arguments):
    program = (
        "import sys, importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'torch' else find(name, package)\n"
        "from cs336.cli import main\n"
        f"sys.exit(main({arguments!r}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == ExitCode.FAILURE
    assert "pip install 'cs336[train]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_module_and_command_are_the_same():
    module = subprocess.run([sys.executable, "-m", "cs336", "--help"], capture_output=True, text=True, check=True)
    assert module.stdout.startswith("usage: cs336 ")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("d_model is odd"), 1, "cs336: error: d_model is odd"),
        (ValueError("two\n  lines"), 1, "cs336: error: two lines"),
        (UsageError("give a file"), 2, "cs336: error: give a file"),
        (
            FileNotFoundError(2, "No such file or directory", "x.txt"),
            1,
            "cs336: error: no such file or directory: x.txt",
        ),
        (OSError(28, "No space left on device", "a.npy"), 1, "cs336: error: no space left on device: a.npy"),
        (OSError("odd"), 1, "cs336: error: odd"),
        (MemoryError(), 1, "cs336: error: out of memory; make the model or the batch smaller (allocation failed)"),
        (KeyboardInterrupt(), 130, "cs336: error: interrupted"),
        (
            RuntimeError("Allocator: can't allocate memory"),
            1,
            "cs336: error: out of memory; make the model or the batch smaller (Allocator: can't allocate memory)",
        ),
    ],
)
def test_what_users_cause_is_one_line_and_an_exit_code(capsys, error, code, line):
    def fail():
        raise error

    assert run_guarded(fail) == code
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyError("bug"), ModuleNotFoundError("No module named 'bug'")])
def test_our_own_bugs_are_not_hidden(error):
    def fail():
        raise error

    with pytest.raises(type(error), match="bug"):
        run_guarded(fail)


def run_into(stdout, *arguments):
    """Run the command as users do: what it writes to a pipe or a file stays in a buffer until the end."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "cs336", *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=buffered, check=False)


@pytest.mark.parametrize("arguments", [["account"], ["--help"], ["--version"]])
def test_a_reader_that_has_left_is_no_traceback(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = run_into(writer, *arguments)
    os.close(writer)
    assert (done.returncode, done.stderr) == (ExitCode.FAILURE, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("arguments", [["account"], ["--help"], ["--version"]])
def test_a_stdout_that_cannot_take_the_result_is_one_line(arguments):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = run_into(full, *arguments)
    assert done.returncode == ExitCode.FAILURE
    assert done.stderr == "cs336: error: no space left on device: stdout\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell that closes descriptors")
@pytest.mark.parametrize(
    ("redirections", "code", "err"), [(">&-", 0, ""), (">&- 2>&-", 0, ""), ("--frobnicate 2>&-", ExitCode.USAGE, "")]
)
def test_a_closed_output_is_no_traceback(redirections, code, err):
    command = f'"{sys.executable}" -m cs336 --version {redirections}'
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, err)


@pytest.mark.skipif(sys.platform == "win32", reason="there a process cannot be asked to end")
def test_a_request_to_end_cleans_up_and_gives_the_handler_back(capsys):
    before = signal.getsignal(signal.SIGTERM)
    cleaned_up = []

    def work():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            cleaned_up.append(True)
        return 0

    assert run_guarded(work) == ExitCode.TERMINATED
    assert cleaned_up
    assert capsys.readouterr().err == "cs336: error: terminated\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_signals_are_left_alone():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run_guarded, lambda: 7).result() == 7


def test_a_warning_is_one_line(capsys):
    def warn():
        warnings.warn("the vocabulary is odd", stacklevel=1)
        return 0

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run_guarded(warn) == 0
    assert capsys.readouterr().err == "cs336: warning: the vocabulary is odd\n"


def test_text_that_the_terminal_cannot_show_is_escaped(tmp_path):
    program = "import sys; from cs336.cli.exit import run_guarded; run_guarded(lambda: print('größer ✓') or 0)"
    env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=env, check=True)
    assert done.stdout == "größer ".encode("latin-1") + b"\\u2713" + os.linesep.encode()
