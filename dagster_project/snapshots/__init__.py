"""Code that writes, verifies and reads published snapshots, and computes the fingerprints of a night's inputs."""
