"""One folder per source: `contract.yaml`, and `adapter.py` if the contract itself cannot map the columns."""
