"""The master key, and the store of the data keys, which the master key encrypts (wraps)."""
