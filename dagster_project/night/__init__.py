"""The steps of a night as plain functions that take a `Pipeline`. This package does not use Dagster."""
