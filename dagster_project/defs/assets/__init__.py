"""One module per stage of a night. Each asset calls domain functions and reports their results to Dagster."""
