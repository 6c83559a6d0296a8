"""Credit models, with their features, splits, training, calibration, scoring, reasons, validation and promotion.

The package consists of plain functions over data frames, and frozen dataclasses. No module here imports Dagster or dbt,
or decides where a file is stored. Only `ml.registry` imports MLflow.
"""
