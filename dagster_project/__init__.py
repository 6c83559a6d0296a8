"""Creditloom: the pipeline's wiring (Dagster), its command line, and the pure packages that move and publish data."""
