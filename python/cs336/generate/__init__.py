"""Prompt ids -> new ids: sampling from a trained model.

`generation` is the loop, `reading` how the model reads (key-value cache, and the window past the context), `sampling`
how the next id is drawn.
"""

# ruff: noqa: E402  (the missing extra must be named before torch is imported)
from cs336._extras import require_extra

require_extra("train", modules=("torch", "jaxtyping"), needed_by=__name__)

from cs336.generate.generation import Options, Step, TextCodec, generate, generate_text, stream
from cs336.generate.sampling import next_id_probabilities

__all__ = ["Options", "Step", "TextCodec", "generate", "generate_text", "next_id_probabilities", "stream"]
