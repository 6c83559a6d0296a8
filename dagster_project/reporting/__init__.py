"""Reports for people: metrics, month comparison, and texts for the terminal. Pure functions, without Dagster."""
