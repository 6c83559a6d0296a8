"""Run dbt, and read its manifest, its results and the metadata of the warehouse's tables."""
