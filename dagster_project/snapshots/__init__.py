"""Write, verify and read published snapshots, and compute the fingerprints of their inputs."""
