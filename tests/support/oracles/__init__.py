"""Independent references, which compute the project's results by simpler means and share no code with the project."""
