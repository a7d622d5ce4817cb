import os
import subprocess
import sys

import pytest

from cs336._extras import require_extra


def test_missing_extra_is_named_with_the_command_to_run():
    with pytest.raises(ModuleNotFoundError, match=r"^cs336\.x needs no_such: pip install 'cs336\[train\]'$"):
        require_extra("train", modules=("sys", "no_such"), needed_by="cs336.x")


@pytest.mark.parametrize("package", ["cs336.model", "cs336.optim", "cs336.data", "cs336.generate", "cs336.accounting"])
def test_without_torch_the_message_names_the_extra(package):
    program = f"""
import importlib.util, sys
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "torch" else find_spec(name, *rest)
try:
    import {package}
except ModuleNotFoundError as error:
    print(error)
assert "torch" not in sys.modules
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env, check=True)
    assert done.stdout == f"{package} needs torch: pip install 'cs336[train]'\n"
