"""The store of published snapshots: written, verified and read here, with the fingerprints of their inputs."""
