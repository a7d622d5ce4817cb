"""What bounds a training step: its matrix products alone, on this device, by the kernels that everybody calls."""

import time
from collections.abc import Callable

import torch


def product_flops_per_s(
    shapes: dict[tuple[int, int], int], *, num_rows: int, device: str, dtype: torch.dtype, num_rounds: int = 3
) -> float:
    """FLOP/s over a step's products: x W^T, and the two of its backward pass, g W and g^T x.

    Args:
        shapes: How often a weight of (inputs, outputs) occurs in the model.
        num_rows: Tokens of a step.
        device: Where.
        dtype: In what.
        num_rounds: The best of so many is taken for each product.
    """
    flops = seconds = 0.0
    for (num_inputs, num_outputs), count in shapes.items():
        x = torch.randn(num_rows, num_inputs, device=device).to(dtype)
        weight = torch.randn(num_outputs, num_inputs, device=device).to(dtype)
        slope = torch.randn(num_rows, num_outputs, device=device).to(dtype)
        products: list[Callable[[], torch.Tensor]] = [
            lambda x=x, weight=weight: x @ weight.T,
            lambda slope=slope, weight=weight: slope @ weight,
            lambda slope=slope, x=x: slope.T @ x,
        ]
        for product in products:
            flops += count * 2.0 * num_rows * num_inputs * num_outputs
            seconds += count * min(_timed(product, device) for _ in range(num_rounds + 1))  # the first one packs
    return flops / seconds


def _timed(function: Callable[[], torch.Tensor], device: str) -> float:
    _synchronise(device)
    begin = time.perf_counter()
    function()
    _synchronise(device)
    return time.perf_counter() - begin


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
