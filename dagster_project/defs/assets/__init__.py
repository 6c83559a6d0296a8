"""One module per stage of the night; each asset calls a function of `night` or `ingestion` and reports its result."""
