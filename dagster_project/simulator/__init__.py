"""A simulated loan book: files as a lending platform delivers them, and the true values behind them.

The package uses only NumPy and Polars. Only the command line and tests import it. It imports nothing else from the
project.
"""
