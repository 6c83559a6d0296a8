"""Code that brings delivered files from the landing folder into the lake.

It includes contracts, parsing, row rules, pseudonyms, quarantine and receipts. It does not import Dagster.
"""
