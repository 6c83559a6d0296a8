"""Everything that imports Dagster: assets, checks, jobs, schedules, sensors, resources. No domain code."""
