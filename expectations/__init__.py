"""The checks that data must pass: suites of checks, one module per kind of table, and the function that runs them.

A suite is a plain Python value, so Dagster's code location can load it without Great Expectations. Only
`expectations.runner` and `expectations.dialect` need Great Expectations. No module in this package imports Dagster or
`ml`, or decides where files are stored.
"""
