"""The checks that data must pass: suites written in Python, one module per kind of table, and their runner.

A suite is a plain value, so Dagster's code location loads without Great Expectations. Only `expectations.runner` and
`expectations.dialect` need it. No module here imports Dagster or `ml`, or decides where a file is.
"""
