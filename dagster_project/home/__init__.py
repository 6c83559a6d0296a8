"""The data folder (home) on disk: settings and paths, version and upgrades, locks, atomic writes, free space."""
