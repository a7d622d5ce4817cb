"""What holds for all tests: shapes checked at run time, repeatable property tests, `gpu` tests where there is one."""

import os
import signal

import pytest
from hypothesis import settings

try:
    from jaxtyping import install_import_hook
except ModuleNotFoundError:  # the tests of the tokenizer run without the extra `train`, too
    install_import_hook = None

# Tiny tensors gain nothing from a second thread, and lose a lot to it on a busy machine. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Ignored where tests run in the background; what they start would ignore it, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before anything imports them; the hook stays for the session. Configurations are left out: they check themselves,
# and their own messages are what users see.
if install_import_hook is not None:
    install_import_hook(
        [
            "cs336.data.batch",
            "cs336.model.attention",
            "cs336.model.feed_forward",
            "cs336.model.functional",
            "cs336.model.layers",
            "cs336.model.rope",
            "cs336.model.transformer",
            "cs336.optim",
            "cs336.train.loss",
        ],
        "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",  # an int is a float, as for mypy
    )

# The same examples on every run, and no verdict from the clock of a busy machine.
settings.register_profile("cs336", derandomize=True, deadline=None)
settings.load_profile("cs336")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where there is no CUDA device."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu:
        import torch

        if not torch.cuda.is_available():
            for item in on_gpu:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
