"""The master key, and the key store, which contains the data keys encrypted (wrapped) with the master key."""
