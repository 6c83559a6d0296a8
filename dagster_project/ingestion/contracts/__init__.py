"""Code about the data that sources deliver: their contracts, the canonical tables, and the adapters that build them."""
