"""The master key, and the store of the data keys that it wraps."""
