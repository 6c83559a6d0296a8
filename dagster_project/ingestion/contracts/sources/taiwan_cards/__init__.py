"""Credit cards in Taiwan, April to September 2005 (Yeh and Lien 2009)."""
