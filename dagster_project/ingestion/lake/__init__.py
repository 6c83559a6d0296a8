"""Code for the landing folder, the lake's Parquet files, their receipts and indexes, and the context of ingestion."""
