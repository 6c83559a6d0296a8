"""Early warnings: the states of segments, computed from monthly figures, and the messages about changes of state.

No module in this package imports Dagster.
"""
