"""Helpers that several test modules share: homes, lenders, contracts, books of loans and independent references.

This package contains no tests. Helpers for the tests of only one folder belong in that folder's `conftest.py`.
"""
