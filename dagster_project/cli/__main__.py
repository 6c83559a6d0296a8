"""The entry point that makes `python -m dagster_project.cli` run the command line."""

from dagster_project.cli import app

app()
