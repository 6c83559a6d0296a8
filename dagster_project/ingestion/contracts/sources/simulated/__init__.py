"""A simulated lender (`creditloom simulate`), mapped by its contract; active if the policy names it."""
