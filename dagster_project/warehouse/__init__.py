"""dbt from the outside: its command line, its manifest, and what the warehouse's tables look like."""
