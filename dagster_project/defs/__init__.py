"""Everything that knows Dagster: assets, checks, jobs, schedules, sensors, resources. Domain code lives elsewhere."""
