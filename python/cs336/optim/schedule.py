"""Learning rates as functions of the step."""

import math


def cosine_schedule(step: int, *, max_lr: float, min_lr: float, warmup_steps: int, cosine_steps: int) -> float:
    """Rise linearly to max_lr at `warmup_steps`, fall along half a cosine to min_lr at `cosine_steps`, stay there.

    Source: handout, "Learning rate scheduling" (t, alpha_max, alpha_min, T_w, T_c); Loshchilov and Hutter 2016.

    Raises:
        ValueError: A negative step, or steps that are not 0 <= warmup_steps <= cosine_steps.
    """
    if step < 0:
        raise ValueError(f"step must be at least 0, got {step}")
    if not 0 <= warmup_steps <= cosine_steps:
        raise ValueError(f"need 0 <= warmup_steps <= cosine_steps, got {warmup_steps} and {cosine_steps}")
    if step < warmup_steps:
        return step / warmup_steps * max_lr
    if step > cosine_steps:
        return min_lr
    progress = (step - warmup_steps) / max(1, cosine_steps - warmup_steps)  # 0 where there is nothing to fall along
    return min_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (max_lr - min_lr)
