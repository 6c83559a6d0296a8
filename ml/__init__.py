"""Credit models: features, splits, training, calibration, scoring, reasons, validation, promotion.

Plain functions over frames and frozen dataclasses. No module here imports Dagster or dbt, or decides where a file is;
only `ml.registry` imports MLflow.
"""
