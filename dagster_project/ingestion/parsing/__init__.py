"""Code that parses delivered files into typed records and checks each record against the contract's rules."""
