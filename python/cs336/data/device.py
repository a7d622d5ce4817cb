"""From the name of a device to a device that is there."""

import torch


class UnavailableDeviceError(ValueError, RuntimeError):
    """A well-formed device that this machine lacks: a bad argument, and the RuntimeError that PyTorch raises for it."""


def resolve_device(device: str | torch.device) -> torch.device:
    """Check that a device exists before anything is placed on it.

    Raises:
        ValueError: The name is not a device (`cpu`, `cuda`, `cuda:1`, `mps`, ...).
        UnavailableDeviceError: This machine has no such device.
    """
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be a name such as cpu, cuda or cuda:1, got {device!r}") from error
    backend = getattr(torch, resolved.type, None)
    if resolved.type in ("cpu", "meta") or backend is None:
        return resolved
    num_devices = backend.device_count() if backend.is_available() else 0
    if (resolved.index or 0) >= num_devices:
        raise UnavailableDeviceError(
            f"device {str(resolved)!r} is not available: this machine has {num_devices} of type {resolved.type}; "
            "choose another, for example cpu"
        )
    return resolved
