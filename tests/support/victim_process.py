"""A program that forks processes which ingest, publish or read data, and kills some of them on request.

Each line of standard input is a JSON list of jobs, which run at the same time. The results of these jobs are written to
standard output as one line.

If a job has `kill_at` = n, its process group is killed just before the n-th execution of a line in the `WATCHED`
modules. The code of these modules must survive a kill at any line. With several threads, the order in which they run
decides which line this is, and whether the process gets that far at all.
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
    """Ingest waiting files until there are none left, while other processes do the same.

    If another process has the home's lock, this process waits and tries again. The result counts these waits as
    `refused`.
    """
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
    """Open the current snapshot repeatedly for as many seconds as the job states, as a consumer would.

    Fails if there is no snapshot, or if the two tables of a snapshot come from different nights. Returns how often a
    snapshot was read, and the numbers of the nights that were read.
    """
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
    """Count the executions of lines in the watched modules, and kill the process group just before number `kill_at`.

    If `kill_at` is None, nothing is killed. Returns a list whose only item is the count, which grows while the process
    runs.
    """
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
    """Fork a process that does a job in its own process group.

    Returns the process ID, and a file descriptor from which the parent reads the result.
    """
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
    # So that one batch is committed while another is read, and small files are ingested together in several groups.
    intake._BATCH, intake.MAX_FILES = 2, 3
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
