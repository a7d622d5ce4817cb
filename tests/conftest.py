"""Check the annotated shapes and types of the numerical code at run time, in the tests only."""

import pytest
from jaxtyping import install_import_hook

# Before anything imports them; the hook stays for the session. Configurations are left out: they check themselves,
# and their own messages are what users see.
install_import_hook(
    [
        "cs336.model.attention",
        "cs336.model.feed_forward",
        "cs336.model.functional",
        "cs336.model.layers",
        "cs336.model.rope",
        "cs336.model.transformer",
        "cs336.optim",
        "cs336.train.loss",
        "cs336.generate",
    ],
    "beartype.beartype",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where there is no CUDA device."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu:
        import torch

        if not torch.cuda.is_available():
            for item in on_gpu:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
