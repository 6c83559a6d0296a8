"""`make bench-ingest`: compare the cost of ingesting payments with the cost of only copying the files to Parquet.

The benchmark makes a year of daily payment files in the layout of the simulated source, 1 GB in total. In each turn,
the files are processed twice, each time in a new process. One process uses the project's own ingestion: hash, parsing
by contract, rules, pseudonyms, Parquet and receipts. The other, the bare scan, uses
`polars.scan_csv(...).sink_parquet(...)` with the same schema. The result is the ratio of the two costs. Each process
reports its own time, without startup and imports. Its memory is measured from outside.

The figures are written to `results/ingest/payments.json`, and to their section of docs/performance.md.
"""

import argparse
import datetime as dt
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
from report import PAGE, RESULTS
from run import SOURCE, link, machine, measure, say

RESULT = RESULTS / "ingest" / "payments.json"
BEGIN, END = "<!-- measured by make bench-ingest: begin -->", "<!-- measured by make bench-ingest: end -->"
DAYS = 365
BYTES_A_ROW = 66.0  # an estimate, only for the number of rows; rates are computed from the files' real size
LIMIT_RATIO, LIMIT_MB = 3.0, 2_000

Json = dict[str, Any]


# --- the files -------------------------------------------------------------------------------------------------------


def make_payments(folder: Path, size_gb: float, seed: int = 1) -> Json:
    """Write DAYS daily payment files in the simulator's format, about `size_gb` GB in total.

    Return the number of files, rows and bytes.
    """
    folder.mkdir(parents=True)
    random, number = np.random.default_rng(seed), 1
    rows = int(size_gb * 1e9 / BYTES_A_ROW / DAYS)
    for n in range(DAYS):
        day = dt.date(2020, 1, 1) + dt.timedelta(days=n)
        payments(random, number, rows, day).write_csv(folder / f"payments-{day}.csv", float_precision=2)
        number += rows
    return {"files": DAYS, "rows": rows * DAYS, "bytes": sum(f.stat().st_size for f in folder.iterdir())}


def payments(random: np.random.Generator, number: int, rows: int, day: dt.date) -> pl.DataFrame:
    """Return random payments of one day, with consecutive payment numbers.

    About one payment in fifty is made by a third party.
    """
    paid_on = pl.Series([day], dtype=pl.Date).new_from_index(0, rows)
    payer = pl.Series(random.integers(10_000_000, 10_500_000, rows))
    return pl.DataFrame(
        {
            "payment_no": np.arange(number, number + rows) + 1_000_000_000,
            "loan_no": random.integers(10_000_000, 11_000_000, rows),
            "paid_on": paid_on,
            "amount": random.integers(1_000, 200_000, rows) / 100,
            "currency": pl.Series(["EUR"]).new_from_index(0, rows),
            "method": pl.Series(random.choice(["direct_debit", "transfer", "cash"], rows, p=[0.7, 0.25, 0.05])),
            "payer_no": payer.set(pl.Series(random.random(rows) >= 0.02), None),
            "booked_on": paid_on,
        }
    )


# --- what is measured, each in a process of its own ------------------------------------------------------------------


def take_in(home: Path) -> None:
    """Ingest all files in the landing folder of a home with the project's own code, and print the figures as JSON."""
    from dagster_project.home.settings import Settings
    from dagster_project.ingestion.intake import ingest
    from dagster_project.night.pipeline import load_pipeline

    pipeline = load_pipeline(Settings(home=home))
    source, ingest_context = pipeline.sources[SOURCE], pipeline.ingest_context
    _timed(lambda: sum(r.accepted_rows for r in ingest(source, ingest_context, dt.datetime.now(dt.UTC))))


def scan(home: Path) -> None:
    """Copy all files in the landing folder of a home to one Parquet file, and print the figures as JSON.

    The columns get the types of the contract. Nothing else that ingestion does is done here.

    Raises:
        LookupError: If the contract has no layout for payments.
    """
    from dagster_project.ingestion.contracts.source import load_sources

    layout = load_sources()[SOURCE].contract.layout_of("payments-2020-01-01.csv")
    if layout is None:
        raise LookupError("the simulated source has no layout for payments")
    out = home / "payments.parquet"

    def bare() -> int:
        files = home / "landing" / SOURCE / "*.csv"
        pl.scan_csv(files, schema=layout.schema).sink_parquet(out, compression="zstd")
        return int(pl.scan_parquet(out).select(pl.len()).collect().item())

    _timed(bare)


def _timed(work: Callable[[], int]) -> None:
    """Call `work`, which returns a number of rows, and print the rows, seconds and CPU seconds as JSON."""
    before, began = _cpu(), time.perf_counter()
    rows = work()
    reported = {"rows": rows, "seconds": time.perf_counter() - began, "cpu_seconds": _cpu() - before}
    sys.stdout.write(json.dumps(reported) + "\n")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


WORK = {"ingest": take_in, "scan": scan}


def bench(size_gb: float, turns: int, work: Path) -> Json:
    """Make the payment files, run all turns on them, and return the measurements.

    Raises:
        RuntimeError: If a process failed, or if it did not read every row.
    """
    files = make_payments(work / "files", size_gb)
    say(f"{files['files']} files, {files['rows']:,} payments, {files['bytes'] / 1e9:.2f} GB")
    measurements: list[Json] = []
    for number in range(1, turns + 1):
        turn = {}
        for name in ("scan", "ingest"):
            home = work / f"{name}-{number}"
            link(sorted((work / "files").iterdir()), home / "landing" / SOURCE)
            command = [sys.executable, __file__, "--child", name, str(home)]
            measured = measure(command, {"CREDITLOOM_HOME": str(home)}, work / "errors.log")
            if measured.exit or measured.reported["rows"] != files["rows"]:
                raise RuntimeError(f"{name} did not read every row: {measured}; see {work / 'errors.log'}")
            turn[name] = asdict(measured) | measured.reported
            say(f"  {number}/{turns} {name}: {turn[name]['seconds']:.1f} s, CPU {turn[name]['cpu_seconds']:.1f} s")
            shutil.rmtree(home)
        measurements.append(turn)
    return {"files": files, "machine": machine(), "turns": measurements}


# --- the page --------------------------------------------------------------------------------------------------------


def ratio(found: Json, what: str) -> float:
    """Return the cost of ingestion divided by the cost of the bare scan (see the module's docstring).

    The ratio is calculated for each turn, and the result is the median over all turns. `what` names the cost: `seconds`
    or `cpu_seconds`.
    """
    return float(median(turn["ingest"][what] / turn["scan"][what] for turn in found["turns"]))


def section(found: Json) -> str:
    """Return the figures and verdicts as Markdown."""
    megabytes = found["files"]["bytes"] / 1e6
    lines = ["| | seconds | CPU seconds | MB a second | memory |", "|---|---|---|---|---|"]
    for name, label in (("scan", "bare scan to Parquet"), ("ingest", "ingestion")):
        seconds, cpu, peak = (
            median(turn[name][what] for turn in found["turns"]) for what in ("seconds", "cpu_seconds", "peak_mb")
        )
        lines.append(f"| {label} | {seconds:.1f} | {cpu:.1f} | {megabytes / seconds:.0f} | {peak:,.0f} MB |")
    wall, cpu, peak = ratio(found, "seconds"), ratio(found, "cpu_seconds"), _peak(found)
    pairs = ((turn["ingest"], turn["scan"]) for turn in found["turns"])
    each = ", ".join(
        f"{ours['seconds'] / bare['seconds']:.2f} ({ours['cpu_seconds'] / bare['cpu_seconds']:.2f})"
        for ours, bare in pairs
    )
    host = found["machine"]
    return (
        f"{found['files']['files']} daily files, {found['files']['rows']:,} payments, {megabytes / 1e3:.2f} GB:\n\n"
        + "\n".join(lines)
        + f"\n\nIngestion takes {wall:.2f} times as long as the bare scan, and {cpu:.2f} times its CPU seconds (medians"
        f" of {len(found['turns'])} turns: {each}). Measured on {host['cores']} cores, {host['memory_gb']} GB, Python"
        f" {host['python']}; the machine's load before the benchmark was {host['load_before']:.1f}.\n\n```text\n"
        + f"{_verdict(cpu <= LIMIT_RATIO)}  CPU seconds, ratio to the scan: {cpu:.2f}, at most {LIMIT_RATIO:.2f}\n"
        + f"{_verdict(wall <= LIMIT_RATIO)}  seconds, ratio to the scan: {wall:.2f}, at most {LIMIT_RATIO:.2f}\n"
        + f"{_verdict(peak < LIMIT_MB)}  largest memory, MB: {peak:,.0f}, less than {LIMIT_MB:,}\n```"
    )


def _peak(found: Json) -> float:
    return float(max(turn["ingest"]["peak_mb"] for turn in found["turns"]))


def _verdict(is_met: bool) -> str:
    return "PASS  " if is_met else "MISSED"


def write_section(page: str, found: Json) -> str:
    """Return the text of the page, with the new figures between its begin and end marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{section(found)}\n\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Run the benchmark, save its figures, and rewrite their section of docs/performance.md.

    With the option `--child`, only process the files of one home, and print the figures.
    """
    parser = argparse.ArgumentParser(description="Measure the ingestion of payments and a bare scan of the same files.")
    parser.add_argument("--gb", type=float, default=1.0, help="size of all files together, in GB")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder for files and homes; default: a new temporary folder")
    parser.add_argument("--child", nargs=2, metavar=("WORK", "HOME"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        WORK[given.child[0]](Path(given.child[1]))
        return
    work = Path(tempfile.mkdtemp(prefix="creditloom-bench-ingest-", dir=given.work))
    try:
        found = bench(given.gb, given.turns, work)
    finally:
        shutil.rmtree(work)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(write_section(PAGE.read_text(), found))
    sys.stdout.write(section(found) + "\n")


if __name__ == "__main__":
    main()
