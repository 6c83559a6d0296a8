"""Files on disk: landed files, the lake's Parquet files, and the receipts and indexes that describe them."""
