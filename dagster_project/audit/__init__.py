"""The audit chain, which is an append-only log that protects each row with a keyed hash."""
