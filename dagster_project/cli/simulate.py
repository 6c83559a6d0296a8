"""The command that simulates a loan book whose true risks are known."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from dagster_project.cli.shared import AsJson, progress_bar, stop
from dagster_project.cli.shared import out as terminal

commands = typer.Typer()


@commands.command()
def simulate(
    folder: Annotated[
        Path, typer.Option("--out", help="Folder for landing/ and truth/; it may be a home.", file_okay=False)
    ],
    loans: Annotated[int, typer.Option(min=1, max=10_000_000, help="Number of loans.")] = 10_000,
    months: Annotated[int, typer.Option(min=1, max=240, help="Number of months.")] = 36,
    seed: Annotated[int, typer.Option(min=0, help="Random seed. The same seed gives the same bytes.")] = 1,
    first: Annotated[
        datetime, typer.Option(formats=["%Y-%m"], help="The book's first month.", show_default="2018-01")
    ] = datetime(2018, 1, 1),
    opened_within: Annotated[
        int | None, typer.Option(min=1, help="Open all loans within this many months; default: over all months.")
    ] = None,
    shock_month: Annotated[int | None, typer.Option(min=0, help="Month of a macro shock, counted from 0.")] = None,
    steady: Annotated[bool, typer.Option(help="Keep the economy constant: no month is worse than another.")] = False,
    drift_month: Annotated[
        int | None,
        typer.Option(
            min=0, help="After this month, the 30+ share of car loans rises from 1.76 to 3.01 % within four months."
        ),
    ] = None,
    deferral_month: Annotated[
        int | None, typer.Option(min=1, help="In the three months from this one on, some loans get a payment holiday.")
    ] = None,
    planted: Annotated[
        list[str] | None,
        typer.Option(
            help="What to plant: fraud, risk_shifts, leakage_traps, all, or one item by name. Repeatable."
            " truth/planted.parquet lists what was planted."
        ),
    ] = None,
    dirt: Annotated[bool, typer.Option(help="Add typical platform faults; truth/dirt.parquet lists them.")] = (False),
    as_json: AsJson = False,
) -> None:
    """Simulate a loan book: write the files that a lending platform would deliver, and the truth about every loan.

    To take the files in, use a policy with the source `simulated`; see docs/simulated-book.md.

    Example: creditloom simulate --loans 20000 --months 36 --seed 1 --out simulated-home
    """
    from dataclasses import asdict

    from dagster_project.simulator.planted import PlanError, switches
    from dagster_project.simulator.simulate import Plan
    from dagster_project.simulator.simulate import simulate as simulate_book

    if opened_within and opened_within > months:
        stop("--opened-within is more than --months", 2)
    try:
        plants = switches(planted or [])
        plan = Plan(
            loans,
            months,
            seed,
            first.date(),
            opened_within,
            shock_month,
            steady,
            drift_month,
            deferral_month,
            plants,
            dirt,
            redeliver=dirt,
        )
        with progress_bar(shown=not as_json) as progress:
            simulated = simulate_book(plan, folder, progress)
    except FileExistsError as error:
        stop(f"{error.filename} exists already; choose another folder", 2)
    except PlanError as error:
        stop(str(error), 2)
    if as_json:
        sys.stdout.write(json.dumps(asdict(simulated)) + "\n")
        return
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in asdict(simulated).items())
    terminal.print(f"{counts}\nfiles  {folder / 'landing'}\ntruth  {folder / 'truth'}", highlight=False)
