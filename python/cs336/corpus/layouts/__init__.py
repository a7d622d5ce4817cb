"""Token files as others lay them out: each module reads and writes one layout, as a stream of ids and documents."""
