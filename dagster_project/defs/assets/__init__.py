"""The assets of a night, with one module per stage.

Each asset calls functions of the domain packages and reports their results to Dagster.
"""
