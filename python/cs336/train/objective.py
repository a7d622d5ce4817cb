"""The training loss as a module."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from cs336.model import TransformerLM
from cs336.train.loss import chunked_cross_entropy, cross_entropy


class Objective(nn.Module):
    """Ids and targets in, the mean loss out: what DDP, FSDP2 and `torch.compile` wrap, so that nothing bypasses them.

    Args:
        model: The model that learns.
        chunk_size: Positions whose logits are in memory at a time; None takes all of them at once. The loss is equal.
    """

    def __init__(self, model: TransformerLM, *, chunk_size: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.chunk_size = chunk_size
        self._compute = self._whole if chunk_size is None else self._in_chunks

    def forward(self, inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
        """Return the mean loss of a micro-batch."""
        return self._compute(inputs, targets)

    def _whole(self, inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
        return cross_entropy(self.model(inputs), targets)

    def _in_chunks(self, inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
        assert self.chunk_size is not None, "the constructor chooses this way only with a size"
        return chunked_cross_entropy(
            self.model.hidden(inputs),
            self.model.lm_head.weight,
            targets,
            chunk_size=self.chunk_size,
            softcap=self.model.config.logit_softcap,
        )
