"""A simulated loan book whose truth is known: files as a lending platform delivers them, and their true values.

Pure NumPy and Polars. Only the command line and tests import this package; it imports nothing else of the project.
"""
