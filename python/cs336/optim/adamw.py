"""Adam with decoupled weight decay."""

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101; handout, algorithm "AdamW").

    At step t = 1, 2, ... with gradient g:

        theta <- theta - lr * weight_decay * theta
        m     <- beta1 * m + (1 - beta1) * g
        v     <- beta2 * v + (1 - beta2) * g^2
        theta <- theta - lr_t * m / (sqrt(v) + eps),    lr_t = lr * sqrt(1 - beta2^t) / (1 - beta1^t)

    `torch.optim.AdamW` differs in one thing: its eps is added to the bias-corrected sqrt(v), so ours acts as
    `eps / sqrt(1 - beta2^t)` would there.

    Args:
        params: Parameters, or groups of them as dictionaries.
        lr: Learning rate; may be changed between steps through `param_groups`.
        betas: Decay rates of the running means of g and g^2.
        eps: Added to sqrt(v).
        weight_decay: Decay rate, in units of the learning rate.
        foreach: Update all parameters with a handful of calls instead of a handful for each. The same numbers
            (bit for bit from fp32 on); faster where the tensors are many and small, or on a GPU.
        compiled: Compile these calls into a single pass over memory. The same numbers but for the last digit.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        foreach: bool = False,
        compiled: bool = False,
    ) -> None:
        for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be in [0, 1), got {betas}")
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "foreach": foreach, "compiled": compiled})

    def allocate(self) -> None:
        """Take the memory that the state of all parameters needs, which the first step would take otherwise."""
        for group in self.param_groups:
            for param in group["params"]:
                self._state_of(param, group)

    def _state_of(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state: dict[str, Any] = self.state[param]
        if not state:
            state.update(self._first_state(param, group))
        return state

    def _first_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """Return the state before the first step; a group may have its own kind."""
        return {"t": 0, "m": torch.zeros_like(param), "v": torch.zeros_like(param)}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient; return the loss if a closure computes it."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            self._update([param for param in group["params"] if param.grad is not None], group)
        return loss

    def _update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        for param in params:
            self._state_of(param, group)["t"] += 1
        update = self._update_together if group["foreach"] or group["compiled"] else self._update_one_by_one
        update(params, group)

    def _update_one_by_one(self, params: list[Tensor], group: dict[str, Any]) -> None:
        lr, (beta1, beta2), eps = group["lr"], group["betas"], group["eps"]
        for param in params:
            state, grad = self.state[param], param.grad
            assert grad is not None, "step passes parameters with a gradient"
            m, v = state["m"], state["v"]
            param.mul_(1 - lr * group["weight_decay"])
            m.mul_(beta1).add_(grad, alpha=1 - beta1)
            v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            param.addcdiv_(m, v.sqrt().add_(eps), value=-_bias_corrected(lr, t=state["t"], betas=(beta1, beta2)))

    def _update_together(self, params: list[Tensor], group: dict[str, Any]) -> None:
        lr, (beta1, beta2), eps = group["lr"], group["betas"], group["eps"]
        # A parameter that once had no gradient lags behind the others.
        params_at: defaultdict[int, list[Tensor]] = defaultdict(list)
        for param in params:
            params_at[self.state[param]["t"]].append(param)
        for t, batch in params_at.items():
            grads = [param.grad for param in batch if param.grad is not None]  # all of them: step saw to that
            ms, vs = ([self.state[param][name] for param in batch] for name in ("m", "v"))
            lr_t = _bias_corrected(lr, t=t, betas=(beta1, beta2))
            decay = 1 - lr * group["weight_decay"]
            if group["compiled"]:  # as tensors, or each new rate would be compiled anew
                _compiled_move()(
                    *(batch, grads, ms, vs, torch.tensor(decay), torch.tensor(lr_t)), beta1=beta1, beta2=beta2, eps=eps
                )
                continue
            torch._foreach_mul_(batch, decay)
            torch._foreach_mul_(ms, beta1)
            torch._foreach_add_(ms, grads, alpha=1 - beta1)
            torch._foreach_mul_(vs, beta2)
            torch._foreach_addcmul_(vs, grads, grads, value=1 - beta2)
            denominators = torch._foreach_sqrt(vs)
            torch._foreach_add_(denominators, eps)
            torch._foreach_addcdiv_(batch, ms, denominators, value=-lr_t)


@functools.cache
def _compiled_move() -> Callable[..., None]:
    """Return `_move_in_one_pass` compiled; asked for at its first use, for loading the compiler takes seconds."""
    return torch.compile(_move_in_one_pass, dynamic=False)


def _move_in_one_pass(  # noqa: PLR0917
    params: list[Tensor],
    grads: list[Tensor],
    ms: list[Tensor],
    vs: list[Tensor],
    decay: Tensor,
    lr_t: Tensor,
    *,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    torch._foreach_mul_(params, decay)
    torch._foreach_mul_(ms, beta1)
    torch._foreach_add_(ms, grads, alpha=1 - beta1)
    torch._foreach_mul_(vs, beta2)
    torch._foreach_addcmul_(vs, grads, grads, value=1 - beta2)
    steps = torch._foreach_div(ms, torch._foreach_add(torch._foreach_sqrt(vs), eps))
    torch._foreach_sub_(params, torch._foreach_mul(steps, lr_t))


def _bias_corrected(lr: float, *, t: int, betas: tuple[float, float]) -> float:
    """Return lr_t: m and v start at zero, so their first values are too small by 1 - beta^t."""
    beta1, beta2 = betas
    return lr * math.sqrt(1 - beta2**t) / (1 - beta1**t)
