"""The command line `creditloom`, with one module per topic.

To add a command, decorate a function with `@commands.command()` in the module of its topic.

Each command parses its arguments, calls one function and prints the result. Slow imports belong inside the command
functions, so that the command line starts quickly.
"""

import typer

from dagster_project.cli import audit, deliveries, night, persons, serve, simulate

app = typer.Typer(
    help="Creditloom turns raw loan files into audited risk numbers and credit scores, every night.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _topic in (night, deliveries, audit, persons, simulate, serve):
    app.add_typer(_topic.commands)
