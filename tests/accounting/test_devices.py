import dataclasses

import pytest

from cs336.accounting import DEVICES, find_device, recognise_device


@pytest.mark.parametrize("device", DEVICES.values(), ids=lambda device: device.name)
def test_rates_are_dense_and_grow_as_precision_falls(device):
    rates = [device.flops_per_s[name] for name in ("fp32", "tf32", "bf16", "fp16") if name in device.flops_per_s]
    assert rates == sorted(rates)
    assert 1e12 < rates[0] <= rates[-1] < 3e15
    assert 10e9 < device.memory_bytes < 300e9
    assert 0.2e12 < device.bandwidth_bytes_per_s < 10e12
    assert device.source


def test_published_rates():
    assert find_device("H100").peak_flops("bf16") == 989.4e12
    assert find_device("a100").peak_flops("fp32") == 19.5e12
    assert find_device("A100 40GB").memory_bytes == 40e9


@pytest.mark.parametrize(
    ("name", "num_multiprocessors", "flops_per_clock", "boost_ghz"),
    [
        ("b200", 148, 8192, 1.85),
        ("h200", 132, 4096, 1.83),
        ("h100", 132, 4096, 1.83),
        ("h100-pcie", 114, 4096, 1.62),
        ("a100", 108, 2048, 1.41),
        ("a100-pcie", 108, 2048, 1.41),
        ("a100-40gb", 108, 2048, 1.41),
        ("l40s", 142, 1024, 2.52),
        ("l4", 58, 1024, 2.04),
        ("rtx-5090", 170, 512, 2.407),  # GeForce: half of the rate where sums are fp32
        ("rtx-4090", 128, 512, 2.52),
        ("rtx-3090", 82, 512, 1.695),
        ("v100", 80, 1024, 1.53),
        ("t4", 40, 1024, 1.59),
    ],
)
def test_half_precision_is_what_the_multiprocessors_do_at_their_clock(
    name, num_multiprocessors, flops_per_clock, boost_ghz
):
    # sheets round the clock, or state the rate at a slightly lower one
    expected = num_multiprocessors * flops_per_clock * boost_ghz * 1e9
    assert find_device(name).peak_flops("fp16") == pytest.approx(expected, rel=0.015)


def test_only_the_very_card_is_recognised():
    assert recognise_device("NVIDIA H200") is DEVICES["h200"]
    assert recognise_device("NVIDIA H100 80GB HBM3") is DEVICES["h100"]
    assert recognise_device("NVIDIA H100 PCIe") is DEVICES["h100-pcie"]
    for other in ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA", ""):
        assert recognise_device(other) is None


def test_no_card_is_two_rows():
    names = [name for device in DEVICES.values() for name in device.torch_names]
    assert len(names) == len(set(names))


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        DEVICES["x"] = DEVICES["h100"]
    with pytest.raises(TypeError):
        DEVICES["h100"].flops_per_s["bf16"] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEVICES["h100"].name = "x"


def test_unknown_names_are_refused_with_what_there_is():
    with pytest.raises(ValueError, match=r"device must be one of b200, h200, h100, .*, got 'h1000'"):
        find_device("h1000")
    with pytest.raises(ValueError, match="precision must be one of fp32, tf32, bf16, fp16, got 'fp8'"):
        find_device("h100").peak_flops("fp8")
    with pytest.raises(ValueError, match="t4 has no bf16 rate; it computes in fp32, fp16"):
        find_device("t4").peak_flops("bf16")
