"""Reports for people: metrics, month comparisons, and texts for the terminal.

This package consists of pure functions and does not use Dagster.
"""
