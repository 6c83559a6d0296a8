"""A simulated lender (`creditloom simulate`), mapped by its contract alone; used where the policy names it."""
