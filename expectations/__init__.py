"""The checks that data must pass: suites as code, one module per kind of table, and the runner that evaluates them.

A suite is a plain value, so the code location loads without importing Great Expectations; only `expectations.runner`
imports it. No module here imports Dagster or `ml`, or decides where a file is.
"""
