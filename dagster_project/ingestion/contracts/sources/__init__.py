"""One folder per source: `contract.yaml`, and `adapter.py` if the contract alone cannot map the columns."""
