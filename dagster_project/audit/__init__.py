"""The audit chain: an append-only log with a keyed hash per row."""
