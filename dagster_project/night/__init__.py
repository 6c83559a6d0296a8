"""The steps of a nightly run as plain functions over a `Pipeline`. No Dagster."""
