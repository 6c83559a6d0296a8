"""`creditloom ...`: one module per topic. A command parses, calls one function, and prints. Slow imports are inside."""

import typer

from dagster_project.cli import audit, deliveries, night, persons, serve, simulate

app = typer.Typer(
    help="Creditloom: raw loan files in, audited risk numbers and scores out, every night.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _topic in (night, deliveries, audit, persons, simulate, serve):
    app.add_typer(_topic.commands)
