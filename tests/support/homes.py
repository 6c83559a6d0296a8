"""Helpers that create, copy and change homes, and run nights on them."""

import fcntl
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

# Workers share two cores: idle OpenMP threads that spin would starve each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A developer's own settings must not reach a test.
for _name in [n for n in os.environ if n.startswith("CREDITLOOM_")]:
    del os.environ[_name]

from dagster_project.definitions import build_defs  # noqa: E402
from dagster_project.defs.instance import open_instance  # noqa: E402
from dagster_project.defs.jobs import RETRAIN  # noqa: E402
from dagster_project.defs.partitions import add_waiting_days  # noqa: E402
from dagster_project.home.settings import PROJECT_ROOT, Settings  # noqa: E402
from dagster_project.ingestion.lake.files import write_parquet  # noqa: E402
from dagster_project.night.pipeline import Pipeline, load_pipeline  # noqa: E402
from dagster_project.operations.run_night import Exit, NightResult, run_night  # noqa: E402


def pipeline_in(home: Path, **more) -> Pipeline:
    """Return a pipeline for `home`. `more` contains further arguments of `load_pipeline`, such as `extra_checks`."""
    return load_pipeline(Settings(home=home), **more)


def shared_night(tmp_path_factory: pytest.TempPathFactory, name: str, run: Callable[[Path], NightResult]) -> Path:
    """Return the home of a night that all test workers share, and run the night if no worker has done so yet.

    A test must not change this home. Fails if the night did not publish.
    """

    def outcome(home: Path) -> None:
        result = run(home)
        assert result.exit is Exit.PUBLISHED, result.failures

    return once(tmp_path_factory, name, outcome)


def once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that all test workers share, and create it with `make` if no worker has done so yet.

    If `make` failed in one worker, the call fails in all other workers, too, with the same message.
    """
    base = tmp_path_factory.getbasetemp()
    # Workers share the folder above their own; without workers that one is shared with other sessions.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    outcome = folder.with_suffix(".outcome")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not outcome.exists():
            try:
                make(folder)
            except Exception as error:
                outcome.write_text(repr(error))
                raise
            outcome.write_text("made")
        assert outcome.read_text() == "made", outcome.read_text()
    return folder


def damage(pipeline: Pipeline, source: str, table: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Change one file of a table in the lake, and update its hash in the receipts.

    The hash check therefore does not notice the change; only later checks can.
    """
    path = next((pipeline.ingest_context.lake / "raw" / source / table).glob("*.parquet"))
    digest = write_parquet(change(pl.read_parquet(path)), path)
    with sqlite3.connect(pipeline.ingest_context.lake / "receipts.sqlite") as db:
        (files,) = db.execute("select files from receipts").fetchone()
        changed = [f | {"sha256": digest} if f["table"] == table else f for f in json.loads(files)]
        db.execute("update receipts set files = ?", (json.dumps(changed),))


def copy_home(night: Path, home: Path) -> Path:
    """Copy the home of a night to `home`, with its keys, and return the copy, which may be changed.

    MLflow stores absolute paths of its folders. They are replaced in the copy, so that a test that logs to MLflow does
    not write into the original home.
    """
    shutil.copytree(night, home, symlinks=True)
    keys = Settings(home=night).key_store_file.parent
    if keys.exists():
        shutil.copytree(keys, Settings(home=home).key_store_file.parent)
    places = (
        ("experiments", "artifact_location"),
        ("runs", "artifact_uri"),
        ("logged_models", "artifact_location"),
        ("model_versions", "source"),
        ("model_versions", "storage_location"),
    )
    with sqlite3.connect(home / "mlflow/mlflow.db") as db:
        for table, column in places:
            db.execute(f"update {table} set {column} = replace({column}, ?, ?)", (str(night), str(home)))
    return home


def retrain(pipeline: Pipeline) -> dg.ExecuteInProcessResult:
    """Run the retraining job on the data of a home, and return its result."""
    with open_instance(pipeline.settings) as instance:
        job = build_defs(pipeline).resolve_job_def(RETRAIN)
        return job.execute_in_process(instance=instance, raise_on_error=False)


def home_with_challenger(night: Path, home: Path, training: str = "max_depth: 2\n  cv_folds: 2") -> None:
    """Copy a night's home to `home`, and train a candidate there with other training parameters.

    The candidate is held, so the champion stays. `training` contains the parameters as YAML text. By default, the
    cross-validation has two folds, because the tests do not use its figures.
    """
    copy_home(night, home)
    policy = home / "policy.yaml"
    given = (PROJECT_ROOT / "policy/default.yaml").read_text()
    kept = [line for line in given.splitlines() if not line.startswith(("  max_depth:", "  cv_folds:"))]
    policy.write_text("\n".join(kept).replace("\ntraining:\n", f"\ntraining:\n  {training}\n"))
    assert retrain(load_pipeline(Settings(home=home, policy=policy))).success


def home_with_stopped_night(night: Path, home: Path) -> None:
    """Copy a night's home to `home` and run a night there that a check stops.

    The check fails because the balances of line 17 are missing in the lake. Afterwards, two files of another source are
    added to the landing folder.
    """
    pipeline = pipeline_in(copy_home(night, home))
    balance = pl.when(pl.col("line_no") == 17).then(None).otherwise("balance").alias("balance")
    damage(pipeline, "taiwan_cards", "statements", lambda rows: rows.with_columns(balance))
    assert run_night(pipeline, force=True).exit is Exit.STOPPED
    landing = home / "landing/ally_auto"
    landing.mkdir(parents=True)
    for month in ("2017-05", "2017-06"):
        (landing / f"{month}.csv").write_text("waits\n")
    with open_instance(pipeline.settings) as instance:
        add_waiting_days(instance, pipeline)
