"""What each border lets pass: suites as code, one module a table, and the runner that asks Great Expectations.

A suite is a plain value, so that the code location loads without importing Great Expectations; only
`expectations.runner` knows it. Nothing here knows Dagster, the models or where files lie.
"""
