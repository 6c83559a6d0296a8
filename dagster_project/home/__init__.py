"""The data folder (CREDITLOOM_HOME): where things are in it, which version it has, and who may write to it."""
