"""Independent references: they compute what the project computes by other, simpler means, and share no code with it."""
