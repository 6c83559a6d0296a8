"""Creditloom: the pipeline's Dagster definitions, its command line, and the packages that move and publish data."""
