"""Runs the command line for `python -m dagster_project.cli`. The commands are in the modules of their topics."""

from dagster_project.cli import app

app()
