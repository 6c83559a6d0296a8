"""What a person starts by hand: nights, backfills, month comparisons, verification, status, data subject requests."""
