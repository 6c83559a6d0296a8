"""The data folder on disk: settings and paths, locks, atomic writes, free space."""
