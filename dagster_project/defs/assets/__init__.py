"""One module per stage of a night. Each asset calls a function of `night` or `ingestion` and reports its result."""
