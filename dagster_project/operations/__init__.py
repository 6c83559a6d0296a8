"""Operations that a person starts by hand.

They are nights, backfills, month comparisons, verification, status, data subject requests and the web servers.
"""
