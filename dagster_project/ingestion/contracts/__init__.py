"""The data that a source delivers: its contract, the canonical tables, and the adapter between them."""
