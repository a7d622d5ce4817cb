"""Peaks of known accelerators, from their makers' data sheets: the denominators of MFU and of time estimates.

Matrix-product rates are *dense* ones: data sheets like to print the rate with 2:4 sparsity, which is twice as much. For
consumer cards bf16 and fp16 are the rates with fp32 accumulation, which is what PyTorch asks for. The source of each
row is NVIDIA's public data sheet of the product, or the white paper of its architecture.

Compared in November 2026 with what is reprinted of them: the dense H100 SXM5 and H200 rates and bandwidths are those
of the white paper's table (989.4 in bf16, 494.7 in TF32, 66.9 in fp32 without tensor cores; 3.35 and 4.8 TB/s), H100
PCIe is half of its 1,513 with sparsity, L4 half of its 242, L40S 362 beside 733; A100, T4 and V100 are printed dense.
B200 is half of 4,500 in bf16 and of 2,250 in TF32 (other tables print 1,100 and, for fp32, 80 rather than 75). The RTX
3090 has 142 with fp16 accumulation and the RTX 5090 838 with that and sparsity: 71 and 209.5, with the RTX 4090's
165.2, are what other tables of peaks have, as they have 835 for H100 NVL, by NVIDIA's page. The sheets themselves were
not at hand.

The tests work out the bf16 or fp16 rates anew, but for H100 NVL's: multiprocessors, times what each does a clock,
times the clock. A card whose clock rises above that of its sheet passes its peak: an RTX 5090 was seen at 254 TFLOP/s
in bf16.
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Precision = Literal["fp32", "tf32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a device can do at most.

    Attributes:
        name: What people call it; the key of `DEVICES`.
        torch_names: What `torch.cuda.get_device_name` says, exactly. Slices (MIG) and laptop cards are others.
        flops_per_s: Dense matrix products by precision. `fp32` is what PyTorch computes in by default, without TF32.
        memory_bytes: As the maker counts it (10^9).
        bandwidth_bytes_per_s: Of that memory.
        source: Where the numbers stand.
    """

    name: str
    torch_names: tuple[str, ...]
    flops_per_s: Mapping[Precision, float]
    memory_bytes: float
    bandwidth_bytes_per_s: float
    source: str

    def peak_flops(self, precision: str) -> float:
        """Return the dense matrix-product rate in FLOP/s.

        Raises:
            ValueError: No such precision, or the device does not compute in it.
        """
        if precision not in get_args(Precision):
            raise ValueError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")
        for known, flops in self.flops_per_s.items():
            if known == precision:
                return flops
        raise ValueError(f"{self.name} has no {precision} rate; it computes in {', '.join(self.flops_per_s)}")


def find_device(name: str) -> Device:
    """Return the device of that name, such as `h100` or `a100-40gb`.

    Raises:
        ValueError: It is not in the table; the message lists what is.
    """
    try:
        return DEVICES[name.lower().replace(" ", "-")]
    except KeyError:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {name!r}") from None


def recognise_device(torch_name: str) -> Device | None:
    """Return the device that `torch.cuda.get_device_name` names so; None if no row is exactly that one.

    A look-alike is never taken: an H100 PCIe has three quarters of the rate of an H100 SXM.
    """
    return next((device for device in DEVICES.values() if torch_name in device.torch_names), None)


def _device(
    name: str,
    torch_names: tuple[str, ...],
    *,
    tera: dict[Precision, float],
    memory: tuple[float, float],
    source: str,
) -> Device:
    """Build a row from teraFLOP/s, gigabytes and gigabytes a second; what computes in bf16 is as fast in fp16."""
    rates = {precision: 1e12 * rate for precision, rate in tera.items()}
    if "bf16" in rates:
        rates["fp16"] = rates["bf16"]
    size_gb, gb_per_s = memory
    return Device(
        name=name,
        torch_names=torch_names,
        flops_per_s=types.MappingProxyType(rates),
        memory_bytes=1e9 * size_gb,
        bandwidth_bytes_per_s=1e9 * gb_per_s,
        source=source,
    )


_ROWS = (
    _device(
        "b200",
        ("NVIDIA B200",),
        tera={"fp32": 75, "tf32": 1125, "bf16": 2250},
        memory=(180, 7700),
        source="HGX B200 data sheet, an eighth of the board, sparse rates halved",
    ),
    _device(
        "h200",
        ("NVIDIA H200",),
        tera={"fp32": 67, "tf32": 494.7, "bf16": 989.4},
        memory=(141, 4800),
        source="H200 data sheet, SXM column, sparse rates halved",
    ),
    _device(
        "h100",
        ("NVIDIA H100 80GB HBM3",),
        tera={"fp32": 66.9, "tf32": 494.7, "bf16": 989.4},
        memory=(80, 3350),
        source="Hopper architecture white paper, H100 SXM5, without sparsity",
    ),
    _device(
        "h100-pcie",
        ("NVIDIA H100 PCIe",),
        tera={"fp32": 51.2, "tf32": 378, "bf16": 756},
        memory=(80, 2000),
        source="Hopper architecture white paper, H100 PCIe, without sparsity",
    ),
    _device(
        "h100-nvl",
        ("NVIDIA H100 NVL",),
        tera={"fp32": 60, "tf32": 417.5, "bf16": 835.5},
        memory=(94, 3900),
        source="H100 data sheet, NVL column, sparse rates halved",
    ),
    _device(
        "a100",
        ("NVIDIA A100-SXM4-80GB",),
        tera={"fp32": 19.5, "tf32": 156, "bf16": 312},
        memory=(80, 2039),
        source="A100 data sheet, 80GB SXM column, without sparsity",
    ),
    _device(
        "a100-pcie",
        ("NVIDIA A100 80GB PCIe",),
        tera={"fp32": 19.5, "tf32": 156, "bf16": 312},
        memory=(80, 1935),
        source="A100 data sheet, 80GB PCIe column, without sparsity",
    ),
    _device(
        "a100-40gb",
        ("NVIDIA A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB", "A100-SXM4-40GB", "A100-PCIE-40GB"),
        tera={"fp32": 19.5, "tf32": 156, "bf16": 312},
        memory=(40, 1555),
        source="A100 data sheet, 40GB column, without sparsity",
    ),
    _device(
        "l40s",
        ("NVIDIA L40S",),
        tera={"fp32": 91.6, "tf32": 183, "bf16": 362},
        memory=(48, 864),
        source="L40S data sheet, without sparsity",
    ),
    _device(
        "l4",
        ("NVIDIA L4",),
        tera={"fp32": 30.3, "tf32": 60, "bf16": 121},
        memory=(24, 300),
        source="L4 data sheet, sparse rates halved",
    ),
    _device(
        "rtx-5090",
        ("NVIDIA GeForce RTX 5090",),
        tera={"fp32": 104.8, "tf32": 104.8, "bf16": 209.5},
        memory=(32, 1792),
        source="Blackwell RTX architecture white paper, fp32 accumulation, without sparsity",
    ),
    _device(
        "rtx-4090",
        ("NVIDIA GeForce RTX 4090",),
        tera={"fp32": 82.6, "tf32": 82.6, "bf16": 165.2},
        memory=(24, 1008),
        source="Ada architecture white paper, fp32 accumulation, without sparsity",
    ),
    _device(
        "rtx-3090",
        ("NVIDIA GeForce RTX 3090",),
        tera={"fp32": 35.6, "tf32": 35.6, "bf16": 71},
        memory=(24, 936),
        source="Ampere GA102 architecture white paper, fp32 accumulation, without sparsity",
    ),
    _device(
        "v100",
        ("Tesla V100-SXM2-16GB", "Tesla V100-SXM2-32GB", "Tesla V100-SXM2-32GB-LS"),
        tera={"fp32": 15.7, "fp16": 125},
        memory=(32, 900),
        source="V100 data sheet, SXM2 column",
    ),
    _device(
        "t4",
        ("Tesla T4",),
        tera={"fp32": 8.1, "fp16": 65},
        memory=(16, 320),
        source="T4 data sheet",
    ),
)

DEVICES: Mapping[str, Device] = types.MappingProxyType({device.name: device for device in _ROWS})
"""The devices by name, the fastest first."""
