"""Code for personal data: finding persons in delivered rows, the vault, the encrypted originals, and erasure."""
