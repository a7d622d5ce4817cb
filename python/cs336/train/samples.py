"""Continuations of a few prompts while a model learns."""

from cs336.config import TrainConfig
from cs336.generate import generate_text
from cs336.model import TransformerLM
from cs336.tokenizer import Tokenizer
from cs336.train.device import cpu_threads
from cs336.train.distributed import Ranks
from cs336.train.parallel import whole_model


def take_samples(
    config: TrainConfig, model: TransformerLM, tokenizer: Tokenizer | None, *, ranks: Ranks
) -> list[tuple[str, str]]:
    """Return the config's prompts with their continuations, on the first rank; every rank must call this.

    The draws come from generators of their own, so that the training is not disturbed.
    """
    assert tokenizer is not None, "Inputs holds that a run with samples has one"
    model_of_first = whole_model(model, ranks)
    if model_of_first is None:
        return []
    samples = []
    with cpu_threads(1):  # products of a single row are too small to share: a second thread would only be waited for
        for prompt in config.sample_prompts:
            text = generate_text(
                model_of_first,
                tokenizer,
                prompt,
                max_new_tokens=config.sample_tokens,
                temperature=config.sample_temperature,
                stop_id=tokenizer.eos_id,
                seed=config.seed,
            )
            samples.append((prompt, text))
    return samples
