"""From built marts to a published snapshot: fingerprints, snapshots, the `current` pointer. Pure: no Dagster."""
