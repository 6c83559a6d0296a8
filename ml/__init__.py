"""Credit models: features, splits, training, calibration, scoring, reasons, validation, promotion.

Plain functions over frames and frozen dataclasses. Nothing here knows Dagster, dbt or where files lie;
`ml.registry` is the only module that knows MLflow.
"""
