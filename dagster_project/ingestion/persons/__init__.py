"""Personal data: whose row a delivered row is, the vault, the encrypted originals, and erasure."""
