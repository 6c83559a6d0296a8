"""One folder a source: `contract.yaml`, and `adapter.py` where the delivered file is not already canonical."""
