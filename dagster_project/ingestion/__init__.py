"""From the landing folder to the lake: contracts, parsing, row rules, pseudonyms, quarantine, receipts. No Dagster."""
