import pytest
import torch

from cs336.data import UnavailableDeviceError, get_batch, resolve_device


def test_cpu_is_there():
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu0", "", "cuda:x"])
def test_a_name_that_is_no_device_is_refused(name):
    with pytest.raises(ValueError, match=f"device must be a name such as cpu, cuda or cuda:1, got '{name}'"):
        resolve_device(name)


def test_a_missing_device_is_named_with_what_there_is():
    with pytest.raises(UnavailableDeviceError, match=r"'cuda:99' is not available: this machine has \d+ of type cuda"):
        resolve_device("cuda:99")


def test_a_missing_device_is_a_value_error_and_the_runtime_error_the_course_expects():
    for expected in (ValueError, RuntimeError):
        with pytest.raises(expected):
            get_batch([0, 1, 2], 1, 1, "cuda:99")
