"""dbt seen from outside: its command line, its manifest, and the metadata of the warehouse's tables."""
