"""Early warnings: states of segments from monthly figures, and messages about changes of state.

No module here imports Dagster.
"""
