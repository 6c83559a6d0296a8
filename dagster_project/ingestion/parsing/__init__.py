"""Parses the bytes of a delivered file into typed records, and checks each record against the contract's rules."""
