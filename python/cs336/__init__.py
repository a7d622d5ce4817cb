"""From raw text to a trained language model: the folders are the stages through which data flows.

    cs336.tokenizer     text <-> ids         Tokenizer, train_bpe (the work is done in Rust, `cs336._bpe`)
    cs336.inputs        names -> files       patterns, directories, URLs; text, JSON lines, parquet
    cs336.corpus        files -> shards      plan, run, verify; convert to and from other layouts
    cs336.data          ids -> batches       TokenDataset, get_batch
    cs336.model         batches -> logits    TransformerLM and the layers it is made of
    cs336.optim         grads -> weights     AdamW, SGD, cosine_schedule, clip_gradients
    cs336.train         the loop             cross_entropy, evaluate, checkpoints, run directories
    cs336.generate      prompt ids -> ids    temperature, top-k, top-p, stop ids
    cs336.accounting    parameters, FLOPs and bytes as formulas
    cs336.config        the configurations of the stages, from and to TOML
    cs336.cli           the command `cs336`

`cs336.tokenizer` and `cs336.corpus` need numpy only; the stages from `cs336.data` on need the extra `train`.
"""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415  (slow to import, seldom asked for)

        return version("cs336")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
