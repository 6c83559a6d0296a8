"""The code that uses Dagster: assets, checks, jobs, schedules, sensors and resources. It contains no domain code."""
