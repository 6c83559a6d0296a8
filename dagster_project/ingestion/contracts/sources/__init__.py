"""The sources that ship with the project, with one folder per source.

Each folder has a `contract.yaml`. It also has an `adapter.py` if the contract alone cannot map the columns.
"""
