"""The simulator of a loan book.

It writes the files that a lending platform would deliver, and the truth: values that no real lender can observe, such
as each loan's true PD.

The package uses only NumPy and Polars, and imports nothing else from the project. Only the command line and the tests
import it.
"""
