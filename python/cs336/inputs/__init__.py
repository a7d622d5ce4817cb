"""Where text comes from: paths, patterns, directories and URLs -> files of documents that the core can read."""

from cs336.inputs.expand import Compression, Format, InputFile, Inputs, expand, has_wildcards, is_url
from cs336.inputs.feed import Fed, fed
from cs336.inputs.read import ReadOptions, described, warn_of_rejected

__all__ = [
    "Compression",
    "Fed",
    "Format",
    "InputFile",
    "Inputs",
    "ReadOptions",
    "described",
    "expand",
    "fed",
    "has_wildcards",
    "is_url",
    "warn_of_rejected",
]
