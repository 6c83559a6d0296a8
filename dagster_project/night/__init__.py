"""The steps of a night as plain functions over a `Pipeline`. No Dagster."""
