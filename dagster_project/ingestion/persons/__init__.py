"""Personal data: finding the person of a delivered row, the vault, the encrypted originals, and erasure."""
