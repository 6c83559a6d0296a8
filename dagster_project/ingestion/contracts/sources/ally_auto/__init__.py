"""The source of US car loans, which their issuer reports every month (asset-level disclosure, SEC form ABS-EE)."""
