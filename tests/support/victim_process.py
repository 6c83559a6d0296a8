"""Runs as a program: forks processes that ingest, publish or read, and kills those that are to be killed.

A process may kill its whole group before the n-th line that it executes in the modules on which the
promise rests: there is no line that it cannot hit. Which one that is depends on how its threads take turns, and whether
it is hit at all.
"""

import datetime as dt
import json
import os
import signal
import sys
import threading
import time
from functools import cache
from pathlib import Path

import polars as pl

import dagster_project
from dagster_project.audit.chain import AuditLog, Entry, Kind
from dagster_project.home.locks import NightRunningError, home_lock
from dagster_project.ingestion import intake
from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.landing import waiting
from dagster_project.snapshots.snapshot import current_snapshot, snapshot_faults, table_of, write_snapshot
from support.young_lender import SOURCE, pipeline_of

# So that one batch is committed while another is read, and small files are ingested together in several groups.
intake._BATCH, intake.MAX_FILES = 2, 3
_ROOT = Path(dagster_project.__file__).parent
WATCHED = {
    str(_ROOT / name)
    for name in (
        "audit/chain.py",
        "home/files.py",
        "home/locks.py",
        "ingestion/classify.py",
        "ingestion/commit.py",
        "ingestion/delivery.py",
        "ingestion/intake.py",
        "ingestion/lake/files.py",
        "ingestion/lake/receipts.py",
        "ingestion/parsing/parse.py",
        "ingestion/persons/vault.py",
        "ingestion/small_files.py",
        "snapshots/snapshot.py",
    )
}
_missing = sorted(name for name in WATCHED if not Path(name).is_file())
assert not _missing, f"these watched modules do not exist, so nothing would be killed in them: {_missing}"

# Made before the fork, once per home.
pipeline = cache(pipeline_of)


def take_in(home: Path, job: dict) -> None:
    with home_lock(home):
        ingest(pipeline(home).sources[SOURCE], pipeline(home).ingest_context, dt.datetime.now(dt.UTC))


def take_in_until_nothing_waits(home: Path, job: dict) -> dict:
    """As several nights at once do: who finds another at work waits, and looks again."""
    source, context, refused = pipeline(home).sources[SOURCE], pipeline(home).ingest_context, 0
    while True:
        try:
            with home_lock(home):
                if not waiting(source, context):
                    return {"refused": refused}
                ingest(source, context, dt.datetime.now(dt.UTC))
        except NightRunningError:
            refused += 1
            time.sleep(0.002)


def content(number: int) -> pl.DataFrame:
    return pl.DataFrame({"k": range(2000), "v": [number * 7919 + k for k in range(2000)]})


def publish_one(home: Path, job: dict) -> None:
    number = job["number"]
    tables = [table_of(name, content(number), ("k",)) for name in ("scores", "months")]
    write_snapshot(home / "published", tables, {"a.number": number, "run.at": time.time()}, {"night": str(number)})


def publish_several(home: Path, job: dict) -> dict:
    refused = done = 0
    for number in job["numbers"]:
        while True:
            try:
                with home_lock(home):
                    publish_one(home, {"number": number})
                done += 1
                break
            except NightRunningError:
                refused += 1
                time.sleep(0.005)
    return {"refused": refused, "done": done}


def read_on(home: Path, job: dict) -> dict:
    """Open what is published over and over, as a consumer does; two tables of one snapshot must be of one night."""
    until, seen, numbers = time.monotonic() + job["seconds"], 0, set()
    while time.monotonic() < until:
        for _ in range(100):  # more looks than reads: a moment without a pointer is short
            snapshot = current_snapshot(home / "published")
            assert snapshot is not None, "something was published before, and now nothing is"
        number = snapshot.metrics()["a.number"]
        for name in ("scores", "months"):
            assert pl.read_parquet(snapshot.folder / f"{name}.parquet").equals(content(number)), name
        assert not snapshot_faults(snapshot.folder)
        seen += 1
        numbers.add(number)
    return {"seen": seen, "numbers": sorted(numbers)}


def append_one(home: Path, job: dict) -> None:
    log = AuditLog(home / "lake/audit.sqlite", home / "audit.head", b"k" * 32)
    log.append([Entry(Kind.PUBLISH, "a snapshot", {"n": 1})])


JOBS = {
    f.__name__: f for f in (append_one, take_in, take_in_until_nothing_waits, publish_one, publish_several, read_on)
}


def count_lines(kill_at: int | None) -> list[int]:
    """Count the lines that are executed in the watched modules; die before one of them."""
    counted = [0]

    def trace(frame, event, _):
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line":
            counted[0] += 1
            if counted[0] == kill_at:
                os.killpg(0, signal.SIGKILL)
        return trace

    threading.settrace(trace)
    sys.settrace(trace)
    return counted


def start(job: dict) -> tuple[int, int]:
    """Fork a process in a group of its own; returns its id and where its answer is to be read."""
    answer, answer_to = os.pipe()
    pid = os.fork()
    if pid:
        os.close(answer_to)
        return pid, answer
    os.setsid()
    os.close(answer)
    counted, said = [0], {"error": None}
    try:
        if job.get("kill_at") or job.get("count"):
            counted = count_lines(job.get("kill_at"))
        said |= JOBS[job["what"]](Path(job["home"]), job) or {}
    except Exception as error:  # noqa: BLE001 - the parent gets whatever it was
        said["error"] = f"{type(error).__name__}: {error}"
    finally:
        sys.settrace(None)
        os.write(answer_to, json.dumps(said | {"lines": counted[0]}).encode())
        os._exit(0)


def main() -> None:
    for line in sys.stdin:
        jobs = json.loads(line)
        for home in {job["home"] for job in jobs if (Path(job["home"]) / "contracts").exists()}:
            _ = pipeline(Path(home)).ingest_context
        started = [start(job) for job in jobs]
        for job, (pid, _) in zip(jobs, started, strict=True):
            if job.get("kill_after") is not None:
                time.sleep(job["kill_after"])
                os.killpg(pid, signal.SIGKILL)
        answers = []
        for pid, answer in started:
            with os.fdopen(answer, "rb") as handle:
                said = handle.read()
            killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
            answers.append({"killed": killed, **(json.loads(said) if said else {})})
        sys.stdout.write(json.dumps(answers) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
