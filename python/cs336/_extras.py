"""Optional dependencies: say which extra to install instead of a bare import error."""

from importlib.util import find_spec


def require_extra(extra: str, *, modules: tuple[str, ...], needed_by: str) -> None:
    """Check that the modules of an extra can be imported, without importing them.

    Raises:
        ModuleNotFoundError: One of them is missing; the message names the command to run.
    """
    for module in modules:
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"{needed_by} needs {module}: pip install 'cs336[{extra}]'", name=module)
