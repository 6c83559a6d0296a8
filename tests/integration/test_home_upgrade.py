"""Tests that the next night backs up and upgrades a home that older code wrote, and that no data is lost.

`tests/homes` contains such a home and the script that made it. Its README names the commit that the home comes from.
"""

import datetime as dt
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from compare_commits import compare_snapshots, load_renamed, report

from dagster_project.audit.chain import Kind
from dagster_project.defs.instance import prepare_home
from dagster_project.home import version as home_versions
from dagster_project.home.locks import NightRunningError, home_lock
from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.home.version import HOME_VERSION, HomeVersionError, home_version, upgrade_home
from dagster_project.ingestion.quarantine import held
from dagster_project.operations.run_night import Exit, run_night
from dagster_project.operations.status import status
from dagster_project.operations.verify import verify
from support.old_home import pipeline_of, unpack, upgraded_home

FIRST_NIGHT = dt.datetime(2019, 12, 3, 2)
# What a reader of the first night's figures would look up; other tables follow from these.
MAIN_TABLES = ("dim_loans", "fct_loan_months", "fct_payments", "fct_defaults", "port_exposures", "scores")


def backups(home: Path) -> list[Path]:
    return sorted(home.with_name(f"{home.name}-backups").glob("*"))


def contents(folder: Path) -> dict[str, bytes | str]:
    """Return the content of every file and link below a folder, by its path relative to the folder.

    A link is returned as the path that it points to, an SQLite database as a dump in SQL, and any other file as its
    bytes.
    """
    found: dict[str, bytes | str] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_symlink() or p.is_file()):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = str(path.readlink())
        elif path.suffix == ".sqlite":
            with sqlite3.connect(path) as db:
                found[str(path.relative_to(folder))] = "\n".join(db.iterdump())
        else:
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def creditloom(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from dagster_project.cli import app; app()", *arguments],
        env=os.environ | {"CREDITLOOM_HOME": str(home), "COLUMNS": "400"},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def old_home(tmp_path):
    return unpack(tmp_path)


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory):
    """Return the home of version 1 after the next night has upgraded it.

    All tests share this home and must not change it. The only exception is a test that rebuilds a night in it.
    """
    return upgraded_home(tmp_path_factory)


def test_next_night_upgrades_backs_up_and_goes_on(upgraded):
    pipeline = pipeline_of(upgraded)
    assert home_version(upgraded) == HOME_VERSION
    assert json.loads((upgraded / "version.json").read_text())["written_by"]
    (backup,) = backups(upgraded)
    assert backup.name.startswith("home-v1-")
    assert verify(pipeline).faults == []
    *older, newest = [row.parsed_facts()["code"] for row in pipeline.ingest_context.audit.rows(Kind.PUBLISH)]
    assert len(older) == 2, "the nights of the older code are in the chain"
    assert newest == pipeline.code
    assert newest not in older
    now = status(pipeline)
    assert now.sources[0].scored > 0
    assert now.sources[0].model == "champion"
    assert pipeline.ledger.champion("simulated").decided_at == FIRST_NIGHT, "the old champion scores; none was trained"
    assert held(pipeline.ingest_context, "simulated").height == 1, "what was held back is held still"
    again = run_night(pipeline)
    assert (again.exit, again.run_id) == (Exit.PUBLISHED, None), "nothing new"


def test_night_known_as_of_an_old_instant_gives_the_figures_of_that_night(upgraded):
    pipeline = replace(pipeline_of(upgraded), known_as_of=FIRST_NIGHT)
    result = run_night(pipeline)
    assert result.exit is Exit.PUBLISHED, result.failures
    first = pipeline.ingest_context.audit.rows(Kind.PUBLISH)[0]
    then = pipeline.settings.published / first.subject
    renamed = load_renamed(earlier=True)
    found = compare_snapshots(then, result.snapshot.folder, renamed)
    names = {*MAIN_TABLES, *(renamed.tables.get(name, name) for name in MAIN_TABLES)}
    main = [d for d in found if d.table in names and "only in AFTER" not in d.what]
    lines, meant = report(main, renamed)
    assert meant, lines
    assert verify(pipeline_of(upgraded)).faults == []


def test_readers_take_an_old_home_as_it_is(old_home):
    pipeline = pipeline_of(old_home)
    assert verify(pipeline).faults == []
    found = status(pipeline)
    assert found.snapshot_id
    assert found.sources[0].scored > 0
    assert found.sources[0].waiting_files > 0
    assert not (old_home / "version.json").exists()
    assert backups(old_home) == []


def test_backup_brings_the_old_home_back(old_home):
    before = contents(old_home)
    rebuilt = old_home / "warehouse/creditloom.duckdb"
    rebuilt.parent.mkdir()
    rebuilt.write_text("relations of the older code")
    prepare_home(Settings(home=old_home))
    assert not rebuilt.exists()
    shutil.rmtree(old_home / "published")
    (old_home / "lake/receipts.sqlite").write_text("damaged")
    (backup,) = backups(old_home)
    commands = [line for line in (backup / "restore.txt").read_text().splitlines() if line.startswith("    ")]
    for command in commands:
        subprocess.run(command, shell=True, check=True)  # noqa: S602 - as a person would type it
    after = contents(old_home)
    assert {name: value for name, value in after.items() if name in before} == before
    assert home_version(old_home) == 1
    assert verify(pipeline_of(old_home)).faults == []
    prepare_home(Settings(home=old_home))
    assert len(backups(old_home)) == 2, "who went back and forward again has a backup of each time"


def test_backup_holds_no_key_and_nothing_that_an_erasure_must_find(old_home):
    prepare_home(Settings(home=old_home))
    (backup,) = backups(old_home)
    names = {path.relative_to(backup).parts[:2] for path in backup.rglob("*") if path.is_file()}
    assert {name for name in names if name[0] not in ("published", "mlflow")} == {
        ("lake", "receipts.sqlite"),
        ("lake", "audit.sqlite"),
        ("outbox", "outbox.sqlite"),
        ("audit.head",),
        ("restore.txt",),
    }


def test_head_of_the_chain_that_is_kept_elsewhere_is_backed_up_and_restored(old_home, tmp_path):
    head = tmp_path / "elsewhere/head of the chain"
    head.parent.mkdir()
    (old_home / "audit.head").rename(head)
    settings, sealed = Settings(home=old_home, audit_head=head), head.read_text()
    prepare_home(settings)
    head.write_text("lost")
    (backup,) = backups(old_home)
    for command in (backup / "restore.txt").read_text().splitlines():
        if command.startswith("    "):
            subprocess.run(command, shell=True, check=True)  # noqa: S602
    assert head.read_text() == sealed
    assert not (old_home / "audit.head").exists()


def test_upgrade_that_was_killed_is_done_again_with_its_backup(old_home, monkeypatch):
    settings = Settings(home=old_home)

    def killed(_settings: Settings) -> None:
        shutil.rmtree(old_home / "published")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(home_versions, "_STEPS", {1: killed})
        with pytest.raises(KeyboardInterrupt):
            prepare_home(settings)
    (backup,) = backups(old_home)
    assert home_version(old_home) == 1, "and so it is not taken for an upgraded one"
    prepare_home(settings)
    assert home_version(old_home) == HOME_VERSION
    assert backups(old_home) == [backup], "no second one, of what a step had left"
    assert (backup / "published/current/manifest.json").exists()


@pytest.mark.parametrize("before", ["flush", "_write"])
def test_backup_that_was_killed_is_made_whole(old_home, monkeypatch, before):
    """If making a backup is interrupted, the next start makes a complete backup and removes a partial one.

    The interruption comes at one of two moments: before the backup has its final name, or after it got this name but
    before the version file records the backup. In the second case, the first backup is complete and stays beside the
    new one.
    """
    with monkeypatch.context() as patch:
        patch.setattr(home_versions, before, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare_home(Settings(home=old_home))
    assert not (old_home / "version.json").exists()
    prepare_home(Settings(home=old_home))
    assert home_version(old_home) == HOME_VERSION
    assert all((backup / "restore.txt").exists() for backup in backups(old_home))
    assert len(backups(old_home)) == (1 if before == "flush" else 2), "and the half one is gone"


def test_newer_home_is_refused_by_all_and_left_alone(old_home):
    newer = {"home_version": HOME_VERSION + 1, "written_by": "commit abc"}
    (old_home / "version.json").write_text(json.dumps(newer))
    before = contents(old_home)
    for command in ("night", "status"):
        done = creditloom(old_home, command)
        assert done.returncode == 2, done.stderr
        assert f"{old_home} is a home of version {HOME_VERSION + 1}, written by commit abc" in done.stderr
        assert "Use that code or newer code" in done.stderr
    assert contents(old_home) == before
    with pytest.raises(HomeVersionError, match="version"):
        prepare_home(Settings(home=old_home))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"home_version": 0}', '{"home_version": "two"}'])
def test_version_that_cannot_be_read_is_refused(tmp_path, text):
    (tmp_path / "version.json").write_text(text)
    with pytest.raises(HomeVersionError, match="cannot be read"):
        prepare_home(Settings(home=tmp_path))


def test_new_home_gets_todays_version_without_a_backup(tmp_path, caplog):
    home = tmp_path / "home"
    pipeline_of(home)  # a reader's look makes no old home of a new one
    assert home_version(home) is None
    prepare_home(Settings(home=home))
    assert home_version(home) == HOME_VERSION
    assert backups(home) == []
    assert caplog.records == []


def test_upgrade_is_said_once_and_waits_for_no_night(old_home, caplog):
    settings = Settings(home=old_home)
    with home_lock(old_home), pytest.raises(NightRunningError):
        prepare_home(settings)
    assert backups(old_home) == []
    with caplog.at_level(logging.WARNING):
        prepare_home(settings)
        prepare_home(settings)
    (said,) = [r.getMessage() for r in caplog.records if r.name == home_versions.__name__]
    assert "upgraded from version 1 to 2" in said
    assert str(backups(old_home)[0]) in said


def test_home_that_cannot_be_backed_up_is_not_upgraded(old_home):
    old_home.with_name("home-backups").write_text("a file in the way")
    with pytest.raises(HomeVersionError, match="cannot be upgraded"):
        upgrade_home(Settings(home=old_home), lambda: "test")
    assert home_version(old_home) == 1
