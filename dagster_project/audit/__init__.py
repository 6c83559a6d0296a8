"""The audit chain: an append-only log whose rows are linked by keyed hashes."""
