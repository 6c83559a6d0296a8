"""US car loans, reported by their issuer every month (asset-level disclosure, SEC form ABS-EE)."""
