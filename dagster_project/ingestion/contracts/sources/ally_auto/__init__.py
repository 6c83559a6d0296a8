"""US car loans as an issuer reports them month by month (asset-level disclosure, SEC form ABS-EE)."""
