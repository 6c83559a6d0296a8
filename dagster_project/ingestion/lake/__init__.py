"""Landed files, the lake's Parquet files, the receipts and indexes that describe them, and the context of an intake."""
