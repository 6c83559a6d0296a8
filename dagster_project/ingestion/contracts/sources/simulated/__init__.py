"""The source for the simulated lender, whose files `creditloom simulate` writes.

Its contract maps the columns. The source is active only if the policy names it.
"""
