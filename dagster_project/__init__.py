"""The Creditloom pipeline: the steps of a night, its Dagster definitions and its command line."""
