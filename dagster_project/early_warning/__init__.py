"""Early warnings: from monthly figures of a segment to states, and from changes of state to people. No Dagster."""
