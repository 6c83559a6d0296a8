"""A simulated lender (`creditloom simulate`). Its contract maps the columns. It is active if the policy names it."""
