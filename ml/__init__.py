"""Credit models: features, splits, training, calibration, scoring, reasons, validation, promotion.

The package consists of plain functions over data frames, and frozen dataclasses. No module here imports Dagster or dbt,
or decides where a file is. Only `ml.registry` imports MLflow.
"""
