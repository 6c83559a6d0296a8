"""The benchmark `make bench`, which compares the cost of a night with the cost of the bare work in it.

It uses simulated books of several sizes. For each size, it simulates a book and sets the files of the last day aside.
It then runs one or more turns. Each turn measures, in this order:

- a first night in a new home,
- the floor (`floor.py`) on the same files,
- the unit (`floor_v1.py`) on the frozen book of the same size,
- a night with the files of the last day,
- a night that closes a month,
- a night with late payments,
- a night without new files,
- a retraining.

Each part runs in its own process, which is measured from outside. The report divides times by the time of the unit in
the same turn, because times depend on the machine.

At the end, the benchmark measures `creditloom night` on the card data in a new home, which is what `make run` does.

The figures are written to `results/<loans>.json` and `results/cards/cards.json`. The tables and the chart in
docs/performance.md are then updated from all files with results.
"""

import argparse
import datetime as dt
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import book_v1
import polars as pl
import report
import yaml

BENCHMARKS = Path(__file__).resolve().parent
ROOT = BENCHMARKS.parent
SOURCE = "simulated"
MONTHS = 37
CREDITLOOM = str(Path(sys.executable).with_name("creditloom"))
IMPORT_DAGSTER = [sys.executable, "-c", "import dagster"]
LATE_SHARE = 20  # of the night with late payments: one loan in so many gets one
SMALL = 10_000  # up to this size there are three turns, because short runs vary more
SAMPLE_SECONDS = 0.1
# The parts of a turn, in this order.
PARTS = ("first night", "floor", "unit", "next night", "month end", "late rows", "nothing new", "retrain")
# The stage of a step, by the prefix of the step's name; the first match counts. Everything else counts as `rest`.
STAGES = {
    "ingest_": "load",
    "check_raw_": "raw checks",
    "check_": "checks",
    "build_warehouse": "dbt",
    "model__": "training",
    "scores__": "scoring",
    "published__": "publishing",
}

Json = dict[str, Any]


@dataclass
class Measured:
    """The resources that a process and its descendants used.

    Attributes:
        exit: The exit code.
        seconds: The elapsed time.
        cpu_seconds: The CPU time.
        peak_mb: The highest total memory in MB.
        reported: The JSON object that the process printed. It is empty if the process printed nothing.
        stages: The seconds of each stage. It is empty if the process was not measured by stage.
    """

    exit: int
    seconds: float
    cpu_seconds: float
    peak_mb: float
    reported: Json = field(repr=False)
    stages: dict[str, float] = field(default_factory=dict)


# --- measuring -------------------------------------------------------------------------------------------------------


def measure(command: list[str], environment: dict[str, str], log: Path) -> Measured:
    """Run a command that prints one JSON object, and return the resources that it used.

    The error output of the command is appended to `log`. If the command prints nothing, `reported` is empty.
    """
    before, began, peak = _cpu_of_children(), time.perf_counter(), 0.0
    with log.open("a") as errors, tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=errors, cwd=ROOT)
        while process.poll() is None:
            peak = max(peak, sum(map(_resident_mb, _tree(process.pid))))
            time.sleep(SAMPLE_SECONDS)
        seconds = time.perf_counter() - began
        output.seek(0)
        printed = output.read()
    reported = json.loads(printed) if printed.strip() else {}
    cpu = _cpu_of_children() - before
    return Measured(process.returncode, round(seconds, 2), round(cpu, 2), round(peak), reported)


def _cpu_of_children() -> float:
    """Return the CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tree(pid: int) -> list[int]:
    """Return the process IDs of a process and all its descendants.

    Processes that end while the list is made may be missing.
    """
    try:
        children = {c for file in Path(f"/proc/{pid}/task").glob("*/children") for c in file.read_text().split()}
    except OSError:
        return []
    return [pid, *(descendant for child in children for descendant in _tree(int(child)))]


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * resource.getpagesize() / 2**20


def stages_of_run(home: Path, run_id: str, seconds: float) -> dict[str, float]:
    """Return the seconds of each stage of a Dagster run, from Dagster's event log.

    `seconds` is the total time of the process that executed the run. The stage `rest` is the remaining time: all other
    steps, startup, imports, and the time between steps.
    """
    from dagster import DagsterInstance

    stages = dict.fromkeys([*STAGES.values(), "rest"], 0.0)
    os.environ["DAGSTER_HOME"] = str(home / "dagster")  # the home's event log is looked up there
    with DagsterInstance.get() as instance:
        for step in instance.get_run_step_stats(run_id):
            name = next((stage for begin, stage in STAGES.items() if step.step_key.startswith(begin)), "rest")
            if step.start_time and step.end_time:
                stages[name] += step.end_time - step.start_time
    stages["rest"] += seconds - sum(stages.values())
    return {name: round(value, 2) for name, value in stages.items()}


def stages_of_floor(floor: Measured) -> dict[str, float]:
    """Return the seconds of each stage of the floor, as the floor reported them.

    The stage `rest` is added. It is the remaining time of the process, which is spent on startup and imports.
    """
    stages = {name: float(stage["seconds"]) for name, stage in floor.reported.get("stages", {}).items()}
    return stages | {"rest": round(floor.seconds - sum(stages.values()), 2)}


# --- one size --------------------------------------------------------------------------------------------------------


def bench(loans: int, repeats: int, work: Path, policy: Path, until: str) -> Json:
    """Simulate a book with `loans` loans, run `repeats` turns on it, and return the measurements.

    `work` is the folder for the book, the homes and the logs. `policy` is the policy file of the nights. `until`
    is the last part of a turn that is measured.

    Raises:
        RuntimeError: the simulation failed, or a first night did not publish.
    """
    book = work / "book"
    plan = ["--loans", str(loans), "--months", str(MONTHS), "--opened-within", "1", "--seed", "1", "--json"]
    simulated = measure([CREDITLOOM, "simulate", *plan, "--out", str(book)], {}, work / "simulate.log")
    if simulated.exit:
        raise RuntimeError(f"the simulation failed; see {work / 'simulate.log'}")
    shutil.rmtree(book / "truth")
    first_days, last_day = split(book / "landing" / SOURCE)
    unit = work / "unit"
    book_v1.write(unit, loans)
    book_v1.write_policy(work / "unit.yaml", loans)
    reported = simulated.reported
    say(f"{loans:,} loans, {reported['payment_rows']:,} payments: simulated in {simulated.seconds:.0f} s")
    turns = []
    for number in range(1, repeats + 1):
        turn = {}
        for name, measured in take_turn(work / f"turn-{number}", first_days, last_day, unit, policy):
            turn[name] = asdict(measured)
            failed = "" if measured.exit == 0 else f", FAILED: {measured.reported.get('failures')}"
            say(f"  {number}/{repeats} {name}: {measured.seconds:.1f} s, {measured.peak_mb:,.0f} MB{failed}")
            say(f"      {measured.stages}")
            if name == until:
                break
        turns.append(turn)
    return {"loans": loans, "machine": machine(), "simulate": asdict(simulated), "turns": turns}


def split(landing: Path) -> tuple[list[Path], list[Path]]:
    """Split the files of a landing folder by the date in their names.

    Returns two lists: the files of all days except the last, and the files of the last day.
    """
    by_day: dict[str, list[Path]] = {}
    for file in sorted(landing.iterdir()):
        by_day.setdefault(file.stem.split("-", 1)[1], []).append(file)
    last = by_day.pop(max(by_day))
    return [file for day in by_day.values() for file in day], last


def take_turn(
    folder: Path, first_days: list[Path], last_day: list[Path], unit: Path, policy: Path
) -> Iterator[tuple[str, Measured]]:
    """Run one turn, and yield (name, measurement) for each of its parts, in order.

    `unit` is the landing folder of the frozen book, whose policy is beside it. The home and the folders of the floors
    are removed after use. If the first night fails, the home is kept.

    Raises:
        RuntimeError: the first night did not publish.
    """
    home, log = folder / "home", folder / "errors.log"
    landing = home / "landing" / SOURCE
    settings = {"CREDITLOOM_HOME": str(home), "CREDITLOOM_POLICY": str(policy)}
    night = [CREDITLOOM, "night", "--json"]
    link(first_days, landing)
    first = _of_run(home, night, settings, log)
    first.reported |= model_of(home)
    yield "first night", first
    if first.exit:
        raise RuntimeError(f"the first night did not publish, so nothing else is measured; see {log} and {home}")
    link(first_days, folder / "bare")
    yield "floor", _of_floor("floor.py", folder / "bare", folder / "out", ["--policy", str(policy)], log)
    yield "unit", _of_floor("floor_v1.py", unit, folder / "out", ["--policy", str(unit.with_name("unit.yaml"))], log)
    link(last_day, landing)
    yield "next night", _of_run(home, night, settings, log)
    shift_day(last_day, landing)
    yield "month end", _of_run(home, night, settings, log)
    write_late(first_days, last_day, landing)
    yield "late rows", _of_run(home, night, settings, log)
    yield "nothing new", _of_run(home, night, settings, log)
    yield "retrain", _of_run(home, [sys.executable, str(BENCHMARKS / "retrain.py")], settings, log)
    shutil.rmtree(home)


def _of_floor(script: str, landing: Path, out: Path, more: list[str], log: Path) -> Measured:
    """Run a floor script on the files of a landing folder, and return its measurement.

    The files that the script wrote are deleted.
    """
    floor = measure([sys.executable, str(BENCHMARKS / script), str(landing), str(out), *more], {}, log)
    floor.stages = stages_of_floor(floor)
    shutil.rmtree(out)
    return floor


def shift_day(last_day: list[Path], landing: Path) -> None:
    """Write a file of payments for the day after the last day, so that the next night closes a month.

    The last day must be a month-end. The file contains the payments of that day again, with new payment numbers and the
    date of the next day. Because these rows belong to the next month, the old month has ended for all loans.
    """
    tomorrow = (_day_of(last_day) + dt.timedelta(days=1)).isoformat()
    payments = pl.read_csv(next(file for file in last_day if file.stem.startswith("payments-")), infer_schema=False)
    dated = payments.with_columns(paid_on=pl.lit(tomorrow), booked_on=pl.lit(tomorrow))
    _renumbered(dated, "2").write_csv(landing / f"payments-{tomorrow}.csv")


def write_late(first_days: list[Path], last_day: list[Path], landing: Path) -> None:
    """Write a file of payments that become known half a year late.

    The file contains payments from the month that was 183 days before the newest day, for one loan in twenty. They have
    new payment numbers and are booked on the day after the newest day.
    """
    newest = _day_of(last_day)
    arrived_on = (newest + dt.timedelta(days=2)).isoformat()  # the day before is that of `shift_day`
    month = f"{newest - dt.timedelta(days=183):%Y-%m}"
    old = [file for file in first_days if file.stem.startswith(f"payments-{month}")]
    payments = pl.concat([pl.read_csv(file, infer_schema=False) for file in old])
    some = payments.filter(pl.col("loan_no").cast(pl.Int64) % LATE_SHARE == 0)
    dated = some.with_columns(booked_on=pl.lit(arrived_on))
    _renumbered(dated, "3").write_csv(landing / f"payments-{arrived_on}.csv")


def _day_of(files: list[Path]) -> dt.date:
    """Return the day in the name of a daily file; the files are those of one day."""
    return dt.date.fromisoformat(files[0].stem.split("-", 1)[1])


def _renumbered(payments: pl.DataFrame, first_digit: str) -> pl.DataFrame:
    """Return the payments with another first digit in all payment numbers. In a simulated book, this digit is 1."""
    return payments.with_columns(payment_no=first_digit + pl.col("payment_no").str.slice(1))


def _of_run(home: Path, command: list[str], settings: dict[str, str], log: Path) -> Measured:
    """Run a command that starts a Dagster run, and return its measurement with the seconds of each stage.

    The command must print the exit code and the ID of the run as JSON. The list of deliveries in the output of a night
    is removed. If the output contains no run ID, there are no stages.
    """
    measured = measure(command, settings, log)
    measured.reported.pop("deliveries", None)
    if measured.reported.get("run_id"):
        measured.stages = stages_of_run(home, measured.reported["run_id"], measured.seconds)
    measured.exit = measured.exit or int(measured.reported.get("exit", 1))
    return measured


def model_of(home: Path) -> Json:
    """Return a dictionary with the AUC of the model that was published in a home.

    If nothing was published, the dictionary is empty. If the night and the floor did the same work, they have the same
    AUC.
    """
    metrics = home / "published" / "current" / "metrics.json"
    if not metrics.exists():
        return {}
    return {"auc": json.loads(metrics.read_text()).get(f"model.{SOURCE}.auc")}


def link(files: list[Path], folder: Path) -> None:
    """Create hard links to the given files in a folder, which is created if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file.name).hardlink_to(file)


def machine() -> Json:
    """Return the number of cores, the memory, the load, the Python version, and the git revision of the code.

    The result contains nothing that identifies the owner of the machine.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    revision = subprocess.check_output(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True)
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(memory),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "revision": revision.strip(),
    }


# --- the cards -------------------------------------------------------------------------------------------------------


def bench_cards(repeats: int, work: Path) -> Json:
    """Measure a first night on the card data, which is what `make run` does, and a second night without new files.

    The import of Dagster alone is measured for comparison. All three are repeated `repeats` times, each time in a new
    home.
    """
    log, turns = work / "cards.log", []
    for number in range(1, repeats + 1):
        home = work / f"cards-{number}"
        settings, night = {"CREDITLOOM_HOME": str(home)}, [CREDITLOOM, "night", "--json"]
        turn = {
            "first night": _of_run(home, night, settings, log),
            "nothing new": _of_run(home, night, settings, log),
            "import dagster": measure(IMPORT_DAGSTER, {}, log),
        }
        say(f"  {number}/{repeats} cards: " + ", ".join(f"{name} {run.seconds:.1f} s" for name, run in turn.items()))
        turns.append({name: asdict(run) for name, run in turn.items()})
        shutil.rmtree(home)
    return {"machine": machine(), "turns": turns}


# --- all sizes -------------------------------------------------------------------------------------------------------


def write_policy(path: Path) -> Path:
    """Write a copy of the default policy that contains only the simulated source, and return its path."""
    policy = yaml.safe_load((ROOT / "policy" / "default.yaml").read_text())
    policy["sources"] = {SOURCE: policy["sources"][SOURCE]}
    path.write_text(yaml.safe_dump(policy, sort_keys=False))
    return path


def say(line: str) -> None:
    """Print a line of progress to the error output."""
    sys.stderr.write(line + "\n")


def main() -> None:
    """Run the benchmark for the given book sizes, and update the figures in docs/performance.md.

    With `--page-only`, nothing is measured, and the page is updated from the saved results.
    """
    parser = argparse.ArgumentParser(description="Measure nights and the bare work in them.")
    parser.add_argument("--loans", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="sizes of the book")
    parser.add_argument("--repeats", type=int, help=f"turns per size; default: 3 up to {SMALL:,} loans, else 1")
    parser.add_argument("--until", choices=PARTS, default=PARTS[-1], help="last part of a turn; default: all parts")
    parser.add_argument("--work", type=Path, help="folder for books and homes; default: a new temporary folder")
    parser.add_argument("--keep", action="store_true", help="keep the books and logs")
    parser.add_argument("--page-only", action="store_true", help="measure nothing, rewrite the page from the results")
    given = parser.parse_args()
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # for the floor, too; the night sets it itself
    if not given.page_only:
        work = Path(tempfile.mkdtemp(prefix="creditloom-bench-", dir=given.work))
        policy = write_policy(work / "policy.yaml")
        for loans in given.loans:
            folder = work / str(loans)
            folder.mkdir()
            report.save(bench(loans, given.repeats or (3 if loans <= SMALL else 1), folder, policy, given.until))
            if not given.keep:
                shutil.rmtree(folder)
        report.save_cards(bench_cards(given.repeats or 3, work))
        if given.keep:
            say(f"books and logs are in {work}")
        else:
            shutil.rmtree(work)
    results, cards = report.load(), report.load_cards()
    report.write_page(results, cards)
    sys.stdout.write(report.table(results, cards) + "\n\n" + report.verdicts(results, cards) + "\n")


if __name__ == "__main__":
    main()
