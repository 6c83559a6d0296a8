"""Functions that run dbt, and that read its manifest, its results and the metadata of the warehouse's tables."""
