"""Published snapshots: how they are written, verified and read, and what they were made from."""
