"""`creditloom ...`: thin commands over the same code that Dagster runs. Slow imports are made inside the commands."""

import json
import sqlite3
import sys
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dagster_project.ingestion.receipts import Receipt
    from dagster_project.night import NightResult
    from dagster_project.resources import Pipeline

app = typer.Typer(
    help="Creditloom: raw loan files in, audited risk numbers and scores out, every night.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
# Bound to the streams as they are now: while a night runs, what its tools print goes to a file.
_out, _err = Console(file=sys.stdout), Console(file=sys.stderr)

_INSTANTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f"]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def night(
    force: Annotated[bool, typer.Option(help="Run even where nothing is new.")] = False,
    on: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Replay: take this day for today; later files have not arrived."),
    ] = None,
    known_as_of: Annotated[
        datetime | None,
        typer.Option(formats=_INSTANTS, help="Rebuild the night as of this instant (UTC); nothing else moves."),
    ] = None,
    intake: Annotated[
        bool, typer.Option(help="Take in what landed, or build on what the lake has and leave it waiting.")
    ] = True,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="Take in only what landed of this source (may be repeated); the others are built as they are."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run one whole night: take in what landed, build, check, score, publish.

    Exit codes: 0 published (or nothing new), 1 failed, 2 usage, 3 a blocking check stopped the night.

    Example: CREDITLOOM_HOME=/data/creditloom creditloom night
    """
    from dagster_project.alone import NightRunningError
    from dagster_project.home.version import HomeVersionError
    from dagster_project.ingestion.border import ClockError
    from dagster_project.night import run_night
    from dagster_project.publishing.snapshot import SnapshotCorruptionError
    from dagster_project.space import DiskFullError

    if on and known_as_of:
        _stop("--on replays a day and --known-as-of rebuilds one: give one of them", 2, as_json=as_json)
    only = frozenset(source) if source else None
    pipeline = _pipeline(on=on.date() if on else None, known_as_of=known_as_of, intake=intake, only=only)
    try:
        keys = pipeline.border.keys
        if keys.is_development and not as_json:
            _err.print(
                "[bold yellow]Development key:[/] pseudonyms are made with a PUBLIC key and protect nobody. "
                "Set CREDITLOOM_MASTER_KEY_FILE before real data arrives."
            )
        if as_json:
            result = run_night(pipeline, force=force)
        else:
            with _err.status("Running the night ..."):
                result = run_night(pipeline, force=force)
    except (NightRunningError, DiskFullError, SnapshotCorruptionError, HomeVersionError) as error:
        _stop(str(error), 1, as_json=as_json)
    except ClockError as error:
        _stop(str(error), 2, as_json=as_json)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(result)) + "\n")
    else:
        _show(pipeline, result)
    raise typer.Exit(int(result.exit))


@app.command()
def backfill(
    since: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First landing day; default: the first.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last landing day; default: the last.")
    ] = None,
    replay: Annotated[
        bool, typer.Option(help="A whole night on each day, by that day's clock, instead of one at the end.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take in a range of waiting landing days, one after the other; started again, it goes on where it stopped.

    Exit codes are those of `night`.

    Example: creditloom backfill --from 2017-06-15 --to 2018-06-15
    """
    from dagster_project import backfill as days
    from dagster_project.alone import NightRunningError
    from dagster_project.home.version import HomeVersionError
    from dagster_project.ingestion.border import ClockError
    from dagster_project.publishing.snapshot import SnapshotCorruptionError
    from dagster_project.space import DiskFullError

    if since and until and since > until:
        _stop(f"--from {since:%Y-%m-%d} is after --to {until:%Y-%m-%d}", 2, as_json=as_json)
    pipeline = _pipeline()
    run = days.replay_range if replay else days.load_range
    try:
        with _progress(shown=not as_json) as progress:
            result = run(pipeline, since and since.date(), until and until.date(), progress)
    except (
        NightRunningError,
        DiskFullError,
        SnapshotCorruptionError,
        HomeVersionError,
        days.BackfillError,
    ) as error:
        _stop(str(error), 1, as_json=as_json)
    except ClockError as error:
        _stop(str(error), 2, as_json=as_json)
    if result is None:
        _stop(f"no file waits for a day of this range in {pipeline.border.landing}", 2, as_json=as_json)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(result)) + "\n")
    else:
        _show(pipeline, result)
    raise typer.Exit(int(result.exit))


@contextmanager
def _progress(*, shown: bool) -> "Iterator[Callable[[date | str, int, int], None]]":
    """A bar on the terminal that is told a day (or step), how many are done, and how many there are."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_err, disable=not shown, transient=True) as bar:
        task = bar.add_task("Beginning ...", total=None)
        yield lambda day, done, total: bar.update(task, description=f"{day}", completed=done, total=total)


@app.command()
def land(
    source: Annotated[str, typer.Argument(help="Name of the source, as in its contract.")],
    folder: Annotated[Path, typer.Argument(help="Folder that holds its files.", exists=True, file_okay=False)],
) -> None:
    """Copy a source's files into its landing folder; files that its contract has no layout for are left.

    Example: creditloom land ally_auto ~/tapes
    """
    from dagster_project.ingestion.landing import land_folder

    pipeline = _pipeline()
    if source not in pipeline.sources:
        _stop(f"there is no source {source!r}; there are {', '.join(pipeline.sources)}", 2)
    landed = land_folder(pipeline.sources[source], pipeline.border, folder)
    if not landed:
        patterns = ", ".join(layout.file_pattern for layout in pipeline.sources[source].contract.layouts)
        _stop(f"{folder} holds no file that {source} has a layout for ({patterns})", 2)
    _out.print(
        f"{len(landed)} files wait in {pipeline.border.landing / source}; run `creditloom night`", highlight=False
    )


Source = Annotated[str | None, typer.Option(help="Only this source.")]
Delivery = Annotated[str | None, typer.Option(help="Only the delivery with this id, or whose id begins so.")]


@app.command()
def quarantine(
    source: Source = None,
    delivery: Delivery = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was taken back in.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what is held back: file, line, rule and message; the delivered text stays sealed.

    Example: creditloom quarantine --source simulated
    """
    import polars as pl

    from dagster_project.ingestion.quarantine import OPEN, held
    from dagster_project.reporting.summary import held_rows

    pipeline = _pipeline()
    _known_source(pipeline, source, as_json=as_json)
    rows = held(pipeline.border, source).drop("minor")
    if delivery:
        rows = rows.filter(pl.col("delivery_id").str.starts_with(delivery))
    if not everything:
        rows = rows.filter(pl.col("state") == OPEN)
    if as_json:
        sys.stdout.write(json.dumps({"held": rows.to_dicts()}, default=lambda moment: moment.isoformat()) + "\n")
    else:
        _out.print(held_rows(rows))


@app.command()
def readmit(source: Source = None, delivery: Delivery = None, as_json: AsJson = False) -> None:
    """Take back in what is held and good by now, after a contract was changed; the next night builds on it.

    Held rows are read again from their originals under the contract as it is now. Those that are still bad stay held.

    Exit codes: 0 done (also where nothing is good yet), 1 failed, 2 usage.

    Example: creditloom readmit --source simulated
    """
    from dagster_project.alone import NightRunningError, alone_in
    from dagster_project.home.version import HomeVersionError
    from dagster_project.ingestion.readmit import readmit as take_back
    from dagster_project.instance import prepare_home

    pipeline = _pipeline()
    _known_source(pipeline, source, as_json=as_json)
    try:
        prepare_home(pipeline.settings)
        with alone_in(pipeline.settings.home):
            done = {
                name: take_back(pipeline.sources[name], pipeline.border, pipeline.now(), delivery)
                for name in ([source] if source else pipeline.sources)
            }
    except (NightRunningError, HomeVersionError) as error:
        _stop(str(error), 1, as_json=as_json)
    receipts = [r for found in done.values() for r in found.receipts]
    gone = [f"{name}/{file}" for name, found in done.items() for file in found.gone]
    if as_json:
        told = [
            {"source": r.source, "file": r.file_name, "delivery": r.delivery_id}
            | {"accepted": r.accepted_rows, "duplicate": r.duplicate_rows, "left": -r.quarantined_rows}
            for r in receipts
        ]
        sys.stdout.write(json.dumps({"exit": 0, "readmitted": told, "originals_gone": gone}) + "\n")
        return
    for file in gone:
        _err.print(f"[bold yellow]Original gone:[/] {file} cannot be read again", highlight=False)
    for r in receipts:
        _out.print(
            f"{r.source}/{r.file_name}: {r.accepted_rows:,} lines accepted, {r.duplicate_rows:,} duplicate,"
            f" {-r.quarantined_rows:,} left the quarantine",
            highlight=False,
        )
    words = "run `creditloom night` to build on them" if receipts else "nothing that is held is good yet"
    _out.print(f"{sum(r.accepted_rows for r in receipts):,} lines taken back in; {words}", highlight=False)


@app.command()
def status(as_json: AsJson = False) -> None:
    """How things stand: what is published, the last night, deliveries, quarantine and champions.

    Example: creditloom status --json
    """
    from dataclasses import asdict

    from dagster_project.publishing.snapshot import SnapshotCorruptionError
    from dagster_project.reporting.summary import standing
    from dagster_project.status import status as look

    try:
        found = look(_pipeline())
    except SnapshotCorruptionError as error:
        _stop(str(error), 1, as_json=as_json)
    if as_json:
        sys.stdout.write(json.dumps(asdict(found), default=lambda moment: moment.isoformat()) + "\n")
    else:
        _out.print(standing(asdict(found)))


Borrower = Annotated[str, typer.Argument(help="The source's own number of the borrower, or the pseudonym.")]
OneSource = Annotated[
    str | None, typer.Option("--source", help="Whose borrower; needed where several know the number.")
]


@app.command()
def erase(borrower: Borrower, source: OneSource = None, as_json: AsJson = False) -> None:
    """Erase what identifies a borrower: the data key is destroyed, and a scan shows that nothing can be recovered.

    Figures do not change: rows stay, under their pseudonym. Exit codes: 0 erased and proven, 1 not erased or not
    proven, 2 usage, 3 a hold or the retention of the policy won and nothing was done.

    Example: creditloom erase 10000421 --source simulated
    """
    from dataclasses import asdict

    from dagster_project import privacy
    from dagster_project.reporting.summary import erasure

    with _person_command(as_json=as_json):
        done = privacy.erase_person(_pipeline(), borrower, source)
        if as_json:
            sys.stdout.write(json.dumps(asdict(done), default=lambda day: day.isoformat()) + "\n")
        else:
            _out.print(erasure(asdict(done)), highlight=False)
        raise typer.Exit(3 if done.held else 1 if not done.proof or done.proof.left else 0)


@app.command()
def hold(
    borrower: Borrower,
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The first day on which it holds no more.")],
    reason: Annotated[str, typer.Option(help="Why; without personal data.")],
    source: OneSource = None,
) -> None:
    """Keep a borrower's data until a day, whoever asks for erasure; it takes the place of an earlier hold.

    Example: creditloom hold 10000421 --until 2031-01-01 --reason "investigation 17"
    """
    from dagster_project import privacy

    with _person_command():
        name = privacy.hold_person(_pipeline(), borrower, source, until.date(), reason)
        _out.print(f"{name} is held until {until:%Y-%m-%d}", highlight=False)


@app.command()
def reveal(
    borrower: Borrower,
    reason: Annotated[str, typer.Option(help="Why the vault is read; it is written down, so without personal data.")],
    source: OneSource = None,
) -> None:
    """Show what is held of a borrower or a payer, as it was delivered: for a letter, or an answer to a request.

    Example: creditloom reveal 10000421 --reason "adverse action letter"
    """
    from dagster_project import privacy

    with _person_command():
        for kept in privacy.reveal_person(_pipeline(), borrower, source, reason):
            for row in kept.rows:
                _out.print(f"delivery {kept.delivery_id}, {kept.layout}", highlight=False)
                for column, value in row.items():
                    _out.print(f"  {column}: {value or ''}", highlight=False, markup=False)


@app.command("rotate-keys")
def rotate_keys(
    new_key_file: Annotated[
        Path, typer.Argument(help="File with the new master key: 64 hex digits.", exists=True, dir_okay=False)
    ],
) -> None:
    """Wrap all data keys with another master key; pseudonyms stay as they are.

    Afterwards set CREDITLOOM_MASTER_KEY_FILE to the new file. Cut off at any point, the old key is still the one.

    Example: creditloom rotate-keys /etc/creditloom/master-2027.key
    """
    from dagster_project import privacy

    with _person_command():
        count = privacy.rotate_keys(_pipeline(), new_key_file)
        _out.print(
            f"{count:,} data keys are wrapped with the new master key. Set CREDITLOOM_MASTER_KEY_FILE={new_key_file} "
            "now; the old key opens nothing of this home any more",
            highlight=False,
        )


@contextmanager
def _person_command(*, as_json: bool = False) -> "Iterator[None]":
    """What may go wrong in the commands about persons and keys, in words."""
    from dagster_project.alone import NightRunningError
    from dagster_project.audit import AuditError
    from dagster_project.home.version import HomeVersionError
    from dagster_project.ingestion.erasure import ErasureError
    from dagster_project.ingestion.key_store import KeyDestroyedError
    from dagster_project.ingestion.keys import MasterKeyError
    from dagster_project.ingestion.lake import LakeCorruptionError
    from dagster_project.privacy import UnknownPersonError

    try:
        yield
    except (UnknownPersonError, MasterKeyError) as error:
        _stop(str(error), 2, as_json=as_json)
    except (
        AuditError,
        ErasureError,
        HomeVersionError,
        KeyDestroyedError,
        LakeCorruptionError,
        NightRunningError,
    ) as error:
        _stop(str(error), 1, as_json=as_json)


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Look whether everything is what was written down: receipts and files, audit chain, snapshots, champions.

    Exit codes: 0 all is, 1 something is not, and is named.

    Example: creditloom verify --json
    """
    from dataclasses import asdict

    from dagster_project.alone import NightRunningError, alone_in
    from dagster_project.verify import verify as look

    pipeline = _pipeline()
    try:
        with alone_in(pipeline.settings.home), _progress(shown=not as_json) as progress:
            found = look(pipeline, progress)
    except NightRunningError as error:
        _stop(str(error), 1, as_json=as_json)
    code = 1 if found.faults else 0
    if as_json:
        sys.stdout.write(json.dumps({"exit": code, **asdict(found)}) + "\n")
        raise typer.Exit(code)
    for fault in found.faults:
        _err.print(f"[bold red]{fault.part}:[/] {fault.what}\n  {fault.advice}", highlight=False)
    for note in found.notes:
        _out.print(note, highlight=False)
    counts = ", ".join(f"{count:,} {name}" for name, count in found.checked.items())
    words = f"[bold red]{len(found.faults)} faults[/]" if found.faults else "[bold green]All is as it was written[/]"
    _out.print(f"{words}: {counts}", highlight=False)
    raise typer.Exit(code)


@app.command()
def restate(
    month: Annotated[datetime, typer.Argument(formats=["%Y-%m"], help="The month, for example 2026-06.")],
    source: Annotated[str | None, typer.Option(help="This source alone; default: all that reported the month.")] = None,
    as_json: AsJson = False,
) -> None:
    """A month's figures as they were reported and as they are known now, and the late or corrected rows between.

    Exit codes: 0 told, 1 failed, or a difference that no row explains, 2 usage.

    Example: creditloom restate 2026-06
    """
    from dagster_project.alone import NightRunningError
    from dagster_project.dbt_project import DbtError
    from dagster_project.ingestion.lake import LakeCorruptionError
    from dagster_project.reporting.summary import restated
    from dagster_project.restate import month_end, restate_month

    pipeline = _pipeline()
    if source and source not in pipeline.sources:
        _stop(f"there is no source {source!r}; there are {', '.join(pipeline.sources)}", 2, as_json=as_json)
    names = [source] if source else pipeline.active_sources()
    try:
        with _err.status("Reading the lake ...") as status:
            told = [restate_month(pipeline, name, month_end(month.date()), status.update) for name in names]
    except (NightRunningError, LakeCorruptionError, DbtError) as error:
        _stop(str(error), 1, as_json=as_json)
    found = [one for one in told if one]
    if not found:
        _stop(f"{source or 'no source'} has {'not ' if source else ''}reported {month:%Y-%m}", 2, as_json=as_json)
    code = int(any(one.unexplained for one in found))
    if as_json:
        said = {"exit": code, "month": f"{month:%Y-%m}", "sources": [one.as_values() for one in found]}
        sys.stdout.write(json.dumps(said, default=str) + "\n")
    else:
        for one in found:
            _out.print(restated(one))
    raise typer.Exit(code)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for landing/ and truth/; a home will do.", file_okay=False)],
    loans: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many loans.")] = 10_000,
    months: Annotated[int, typer.Option(min=1, max=240, help="Length of the book.")] = 36,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 1,
    first: Annotated[
        datetime, typer.Option(formats=["%Y-%m"], help="The book's first month.", show_default="2018-01")
    ] = datetime(2018, 1, 1),
    opened_within: Annotated[
        int | None, typer.Option(min=1, help="Open all loans in the first so many months; default: in all of them.")
    ] = None,
    shock_month: Annotated[int | None, typer.Option(min=0, help="Month of a macro shock, counted from 0.")] = None,
    steady: Annotated[bool, typer.Option(help="Let the economy stand still: no month is worse than another.")] = False,
    drift_month: Annotated[
        int | None, typer.Option(min=0, help="After this month 30+ of the car loans rises from 1.76 to 3.01 % in four.")
    ] = None,
    deferral_month: Annotated[
        int | None, typer.Option(min=1, help="From this month on, for three, some loans get a payment holiday.")
    ] = None,
    planted: Annotated[
        list[str] | None,
        typer.Option(
            help="Plant what truth/planted.parquet lists: fraud, tilts, leaks, all, or one by name. Repeatable."
        ),
    ] = None,
    dirt: Annotated[bool, typer.Option(help="Plant the faults that platforms make; truth/dirt.parquet lists them.")] = (
        False
    ),
    as_json: AsJson = False,
) -> None:
    """Simulate a loan book: files as a platform drops them, and beside them what is really so.

    The files come in as the source `simulated` where a policy names it; see docs/simulated-book.md.

    Example: creditloom simulate --loans 20000 --months 36 --seed 1 --out simulated-home
    """
    from dataclasses import asdict

    from dagster_project.simulator.planted import PlanError, switches
    from dagster_project.simulator.simulate import Plan
    from dagster_project.simulator.simulate import simulate as make

    if opened_within and opened_within > months:
        _stop("--opened-within is more than --months", 2)
    try:
        asked = switches(planted or [])
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
            asked,
            dirt,
            redeliver=dirt,
        )
        with _progress(shown=not as_json) as progress:
            made = make(plan, out, progress)
    except FileExistsError as error:
        _stop(f"{error.filename} is there already; choose another folder", 2)
    except PlanError as error:
        _stop(str(error), 2)
    if as_json:
        sys.stdout.write(json.dumps(asdict(made)) + "\n")
        return
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in asdict(made).items())
    _out.print(f"{counts}\nfiles  {out / 'landing'}\ntruth  {out / 'truth'}", highlight=False)


@app.command()
def up(
    dagster_port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow UI.")] = 5000,
) -> None:
    """Start the Dagster UI, the Dagster daemon and the MLflow UI on this machine; Ctrl-C ends all three."""
    from dagster_project.alone import NightRunningError, alone_in
    from dagster_project.home.version import HomeVersionError
    from dagster_project.servers import serve

    pipeline = _pipeline()
    try:
        with alone_in(pipeline.settings.home, "up"):  # two daemons on one instance would run each night twice
            raise typer.Exit(serve(pipeline, dagster_port, mlflow_port, _out.print))
    except (NightRunningError, HomeVersionError) as error:
        _stop(str(error), 1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def dbt(context: typer.Context) -> None:
    """Run dbt on the home's warehouse with the policy's variables.

    Example: creditloom dbt build --select feat_loan_months
    """
    from dagster_project.alone import NightRunningError, alone_in
    from dagster_project.dbt_project import run_dbt
    from dagster_project.home.version import HomeVersionError
    from dagster_project.increment import forget_build
    from dagster_project.instance import prepare_home
    from dagster_project.publication import warehouse_is_rebuilt

    pipeline = _pipeline()
    try:
        prepare_home(pipeline.settings)
        with alone_in(pipeline.settings.home):
            warehouse_is_rebuilt(pipeline)
            forget_build(pipeline)
            raise typer.Exit(run_dbt(pipeline.settings, pipeline.policy, context.args).returncode)
    except (NightRunningError, HomeVersionError) as error:
        _stop(str(error), 1)


def _pipeline(**night: Any) -> "Pipeline":
    """The environment's pipeline, or a usage error in words."""
    from pydantic import ValidationError

    from dagster_project.home.version import HomeVersionError
    from dagster_project.ingestion.contracts import ContractError
    from dagster_project.ingestion.keys import MasterKeyError
    from dagster_project.policy import PolicyError
    from dagster_project.resources import load_pipeline

    try:
        pipeline = load_pipeline(**night)
        _ = pipeline.border
    except ValidationError as error:
        first = error.errors()[0]
        _stop(f"CREDITLOOM_{str(first['loc'][0]).upper()}: {first['msg']}", 2)
    except (HomeVersionError, PolicyError, ContractError, MasterKeyError) as error:
        _stop(str(error), 2)
    except sqlite3.DatabaseError as error:
        _stop(f"{pipeline.settings.lake / 'receipts.sqlite'} cannot be read ({error}): restore it from a backup", 1)
    return pipeline


def _known_source(pipeline: "Pipeline", source: str | None, *, as_json: bool) -> None:
    if source is not None and source not in pipeline.sources:
        _stop(f"there is no source {source!r}; there are {', '.join(pipeline.sources)}", 2, as_json=as_json)


def _stop(message: str, code: int, *, as_json: bool = False) -> NoReturn:
    if as_json:
        sys.stdout.write(json.dumps({"exit": code, "failures": [message]}) + "\n")
    _err.print(f"[bold red]creditloom:[/] {message}", highlight=False)
    raise typer.Exit(code)


def _show(pipeline: "Pipeline", result: "NightResult") -> None:
    from dagster_project.night import Exit
    from dagster_project.reporting.summary import summary, where_to_look

    snapshot = result.snapshot
    for receipt in result.receipts:
        if receipt.state != "ACCEPTED":
            _err.print(f"[bold yellow]{receipt.state}:[/] {_held_back(pipeline, receipt)}", highlight=False)
    if result.exit is not Exit.PUBLISHED or snapshot is None:
        stopped = "a blocking check stopped the night" if result.exit is Exit.STOPPED else "the night failed"
        _err.print(f"[bold red]Not published:[/] {stopped}.")
        for failure in result.failures:
            _err.print(f"  - {failure}", highlight=False)
        kept = f"snapshot {snapshot.snapshot_id} is still current" if snapshot else "nothing is published"
        _err.print(f"{kept}; run {result.run_id} is in the Dagster UI (make up).", highlight=False)
        return
    if result.run_id is None:
        _out.print(
            f"[bold green]Nothing new:[/] snapshot {snapshot.snapshot_id} is current"
            f" ({result.seconds:.1f} s). Drop a file into {pipeline.settings.landing}/<source>/, or use --force."
        )
        return
    _out.print(summary(snapshot.metrics(), pipeline.active_sources(), result.stages))
    shown = snapshot.folder if pipeline.known_as_of else pipeline.settings.published / "current"
    words = "Published" if result.changed else "Published again with the same content"
    if pipeline.known_as_of:
        words = f"Rebuilt as of {pipeline.known_as_of}"
    _out.print(f"[bold green]{words}:[/] snapshot {snapshot.snapshot_id} in {result.seconds:.1f} s")
    absent = ", ".join(name for name in pipeline.sources if not pipeline.has_delivered(name))
    if absent:
        _out.print(f"[dim]Not delivered yet: {absent}; `creditloom land SOURCE FOLDER` brings a source's files.[/]")
    _out.print(where_to_look(pipeline.settings.home, shown), soft_wrap=True)


def _held_back(pipeline: "Pipeline", receipt: "Receipt") -> str:
    """A delivery that was not accepted whole: file, lines, reason, and where its bad rows lie."""
    words = f"{receipt.source}/{receipt.file_name}: {receipt.quarantined_rows:,} of {receipt.landed_rows:,} lines"
    words += f" held back, {receipt.duplicate_rows:,} duplicate; {receipt.reason}"
    paths = [f.path for f in receipt.files if f.table == "quarantine"]
    return words + (f" ({pipeline.settings.lake / paths[0]})" if paths else "")


def _as_json(result: "NightResult") -> dict[str, object]:
    snapshot = result.snapshot
    return {
        "exit": int(result.exit),
        "snapshot_id": snapshot.snapshot_id if snapshot else None,
        "snapshot_sha256": snapshot.sha256 if snapshot else None,
        "nothing_new": result.run_id is None,
        "changed": result.changed,
        "run_id": result.run_id,
        "seconds": round(result.seconds, 1),
        "stages": result.stages,
        "failures": list(result.failures),
        "deliveries": [
            {"source": r.source, "file": r.file_name, "state": r.state, "reason": r.reason} for r in result.receipts
        ],
    }


if __name__ == "__main__":
    app()
