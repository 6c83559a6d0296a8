"""Landing to lake: contracts, reading, row rules, pseudonyms, quarantine, receipts. Pure: nothing knows Dagster."""
