"""Code for the data folder (home): settings, paths, versions and upgrades, locks, atomic writes and free disk space."""
