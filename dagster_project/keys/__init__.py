"""The master key, and the data keys that it wraps."""
