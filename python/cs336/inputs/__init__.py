"""Where text comes from: paths, patterns, directories and URLs -> files of documents that the core can read."""

from cs336.inputs.expand import Compression, Format, InputFile, Inputs, expand
from cs336.inputs.feed import Fed, fed

__all__ = ["Compression", "Fed", "Format", "InputFile", "Inputs", "expand", "fed"]
