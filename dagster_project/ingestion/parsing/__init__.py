"""From the bytes of a delivered file to typed records, and the rules that each record must meet."""
