"""What people read: the metric store and the night's summary. Pure: nothing knows Dagster."""
