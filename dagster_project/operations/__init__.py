"""What a person asks for: a night, a backfill, a restatement, verification, status, requests of data subjects."""
