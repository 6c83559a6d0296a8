"""The code that uses Dagster: assets, checks, jobs, schedules, sensors and resources. It has no domain code."""
