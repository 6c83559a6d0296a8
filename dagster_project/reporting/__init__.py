"""Reports for people: the metrics, the month comparison, the texts of the terminal. Pure; no Dagster."""
