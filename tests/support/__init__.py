"""What several test modules share: homes, lenders and their contracts, books, processes, and independent references.

No test is in here. What only the tests of one folder use belongs in that folder's `conftest.py`.
"""
