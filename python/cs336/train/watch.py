"""A watch over losses, gradients and weights: it stops a run at the first that is not a finite number."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cs336.train.distributed import Ranks
from cs336.train.parallel import own_share
from cs336.train.progress import DivergedError, Progress


class Watch:
    """Holds losses on the device until they are looked at, so that no step waits for the one before it.

    Args:
        model: Whose weights are looked at before they are used or saved.
        ranks: Those that train together; all of them look at the same time, and see the same.
    """

    def __init__(self, model: nn.Module, ranks: Ranks) -> None:
        self._model, self._ranks = model, ranks
        self._unseen: list[tuple[int, Float[Tensor, ""], Float[Tensor, ""]]] = []

    def add(self, step: int, loss: Float[Tensor, ""], grad_norm: Float[Tensor, ""]) -> None:
        """Take in what a step measured, wherever it is."""
        self._unseen.append((step, loss, grad_norm))

    def look(self, progress: Progress) -> None:
        """Bring the losses since the last look to the host, and count them.

        Raises:
            DivergedError: One of them, or the norm of its gradients, is not finite.
        """
        unseen, self._unseen = self._unseen, []
        if not unseen:
            return
        losses = self._ranks.mean(torch.stack([loss for _, loss, _ in unseen])).tolist()
        grad_norms = torch.stack([grad_norm for _, _, grad_norm in unseen]).tolist()
        for (step, _, _), loss, grad_norm in zip(unseen, losses, grad_norms, strict=True):
            if not (math.isfinite(loss) and math.isfinite(grad_norm)):
                raise DivergedError(step, loss=loss, grad_norm=grad_norm)
        progress.unrecorded_losses += losses
        progress.grad_norm = grad_norms[-1]

    def look_at_weights(self, progress: Progress, *, step: int) -> None:
        """Look at the weights that `step` steps led to, once their losses have been looked at.

        Raises:
            DivergedError: They are no numbers that can be used or saved.
        """
        are_finite = torch.stack([own_share(weight.detach()).isfinite().all() for weight in self._model.parameters()])
        if self._ranks.any(not are_finite.all()):
            raise DivergedError(step - 1, loss=math.nan, grad_norm=progress.grad_norm)
