"""Text files -> token files."""
