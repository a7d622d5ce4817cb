"""Questions -> runs -> answers."""
