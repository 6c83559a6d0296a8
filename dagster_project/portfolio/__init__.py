"""The portfolio's figures that SQL is the wrong tool for: matrices, expected loss, forecasts, prices. No Dagster."""
