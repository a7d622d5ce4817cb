"""Check the annotated shapes and types of the numerical code at run time, in the tests only."""

from jaxtyping import install_import_hook

# Before anything imports them; the hook stays for the session. Configurations are left out: they check themselves,
# and their own messages are what users see.
install_import_hook(
    [
        "cs336.model.attention",
        "cs336.model.feed_forward",
        "cs336.model.functional",
        "cs336.model.layers",
        "cs336.model.rope",
        "cs336.model.transformer",
        "cs336.optim",
        "cs336.train.loss",
        "cs336.generate",
    ],
    "beartype.beartype",
)
