"""Personal data: whose row it is, the vault, the encrypted originals, and erasure."""
