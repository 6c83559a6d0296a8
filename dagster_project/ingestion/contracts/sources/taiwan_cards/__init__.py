"""The source of credit card accounts in Taiwan from April to September 2005 (Yeh and Lien 2009)."""
