"""A simulated loan book whose truth is known: what a platform would drop, and beside it what is really so.

Pure NumPy and Polars. Nothing but the command line and tests imports this package; it imports nothing of the project.
"""
