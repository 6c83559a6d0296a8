"""Portfolio figures that are hard to compute in SQL: matrices, expected loss, forecasts, prices.

No module here imports Dagster.
"""
