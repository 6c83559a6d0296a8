"""Portfolio figures that are hard to compute in SQL: matrices, expected losses, forecasts and prices.

No module in this package imports Dagster.
"""
