"""Learning rates as functions of the step."""

import math


def cosine_schedule(step: int, *, max_lr: float, min_lr: float, warmup_steps: int, cosine_steps: int) -> float:
    """Rise linearly to max_lr at `warmup_steps`, fall along half a cosine to min_lr at `cosine_steps`, stay there.

    Source: handout, "Learning rate scheduling" (t, alpha_max, alpha_min, T_w, T_c); Loshchilov and Hutter 2016.

    Raises:
        ValueError: A negative step, or steps that are not 0 <= warmup_steps <= cosine_steps.
    """
    _check(step, warmup_steps=warmup_steps, cosine_steps=cosine_steps)
    if step < warmup_steps:
        return step / warmup_steps * max_lr
    if step > cosine_steps:
        return min_lr
    progress = (step - warmup_steps) / max(1, cosine_steps - warmup_steps)  # 0 where there is nothing to fall along
    return min_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (max_lr - min_lr)


def linear_schedule(step: int, *, max_lr: float, min_lr: float, warmup_steps: int, total_steps: int) -> float:
    """Rise linearly to max_lr at `warmup_steps`, fall linearly to min_lr at `total_steps`, stay there.

    Down to zero this is the schedule of Bergsma et al. 2025 (arXiv:2502.15938).

    Raises:
        ValueError: A negative step, or steps that are not 0 <= warmup_steps <= total_steps.
    """
    _check(step, warmup_steps=warmup_steps, total_steps=total_steps)
    return wsd_schedule(
        step,
        max_lr=max_lr,
        min_lr=min_lr,
        warmup_steps=warmup_steps,
        cooldown_start=warmup_steps,
        total_steps=total_steps,
    )


def wsd_schedule(
    step: int, *, max_lr: float, min_lr: float, warmup_steps: int, cooldown_start: int, total_steps: int
) -> float:
    """Warm up, stay, decay: stay at max_lr until `cooldown_start`, then fall linearly to min_lr at `total_steps`.

    Hu et al. 2024 (arXiv:2404.06395), with the linear cooldown of Hägele et al. 2024 (arXiv:2405.18392). A run can be
    made longer by going on from before its cooldown.

    Raises:
        ValueError: A negative step, or steps that are not 0 <= warmup_steps <= cooldown_start <= total_steps.
    """
    _check(step, warmup_steps=warmup_steps, cooldown_start=cooldown_start, total_steps=total_steps)
    if step < warmup_steps:
        return step / warmup_steps * max_lr
    if step <= cooldown_start:
        return max_lr
    progress = min(1.0, (step - cooldown_start) / (total_steps - cooldown_start)) if step < total_steps else 1.0
    return max_lr + progress * (min_lr - max_lr)


def _check(step: int, **ordered: int) -> None:
    if step < 0:
        raise ValueError(f"step must be at least 0, got {step}")
    values = [0, *ordered.values()]
    if values != sorted(values):
        raise ValueError(
            f"need 0 <= {' <= '.join(ordered)}, got {' and '.join(str(value) for value in ordered.values())}"
        )
