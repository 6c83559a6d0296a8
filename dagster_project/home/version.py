"""The version of a home. Before a write, an older home is upgraded; a home that newer code wrote is refused.

`version.json` holds the version. If this file is missing and a night has run, the home has version 1. Each version has
one upgrade step. Before the first step, everything that a night cannot build again is backed up beside the home:

    HOME-backups/home-v1-<time>/    receipts, audit chain and head, promotion ledger, outbox, MLflow's database, models,
                                    published snapshots, and `restore.txt`, which explains how to go back

Databases are copied. Models and snapshots are hard links, because their files never change. The backup leaves out the
Parquet files of the lake, the quarantine, the vault and the originals: no step changes them, and an erasure must find
all data of a person. For the same reason, no backup contains keys. This module does not use Dagster.
"""

import json
import logging
import os
import shlex
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dagster_project.home.files import flush, replace_text
from dagster_project.home.locks import home_lock
from dagster_project.home.settings import Settings

HOME_VERSION = 2
VERSION_FILE = "version.json"
_LOG = logging.getLogger(__name__)
# If one of these files or folders exists, a night has run in the home; nothing else creates them.
_LEFT_BY_A_NIGHT = ("lake/raw", "lake/audit.sqlite", "warehouse/creditloom.duckdb", "published/current")
_DATABASES = (
    "lake/receipts.sqlite",
    "lake/audit.sqlite",
    "mlflow/promotions.sqlite",
    "mlflow/mlflow.db",
    "outbox/outbox.sqlite",
)
_NEVER_CHANGED = ("mlflow/models", "published")
_HEAD = "audit.head"
_RESTORE = """\
The home {home} as it was before it was upgraded from version {old} to {new}.

To go back: end all that runs on the home, then

{commands}

and go on with the older code. Files that were taken in after the upgrade must be delivered again.
This folder may be removed once nobody wants to go back.
"""


class HomeVersionError(RuntimeError):
    """The code cannot work with the version of the home, or could not upgrade the home."""


def home_version(home: Path) -> int | None:
    """The version of a home; None if it has no version file and no night has run in it.

    Raises:
        HomeVersionError: the version file cannot be read.
    """
    found = _read(home)
    if found is not None:
        return int(found["home_version"])
    return 1 if any((home / name).exists() for name in _LEFT_BY_A_NIGHT) else None


def check_home(home: Path) -> None:
    """Refuse a home that newer code has written. Readers accept an older home without an upgrade.

    Raises:
        HomeVersionError: the home is newer than this code, or its version cannot be read.
    """
    version = home_version(home)
    if version is not None and version > HOME_VERSION:
        by = (_read(home) or {}).get("written_by", "unknown")
        raise HomeVersionError(
            f"{home} is a home of version {version}, written by {by}; this code works with version {HOME_VERSION} at "
            f"most. Use that code or newer code, or go back to a backup of the home (see {_backups(home)}). "
            "Nothing was changed"
        )


def upgrade_home(settings: Settings, written_by: Callable[[], str]) -> None:
    """Bring a new or older home to this code's version; leave a current home as it is.

    Call this before the home is written to. An upgrade that was interrupted runs again from its first step and keeps
    the backup that it made.

    Args:
        settings: the settings, which name the home.
        written_by: returns a readable name of this code; called only when the version is written.

    Raises:
        HomeVersionError: the home is newer than the code, or cannot be backed up or upgraded.
        NightRunningError: the home needs an upgrade, but a night is running in it.
    """
    home = settings.home
    check_home(home)
    version = home_version(home)
    if version == HOME_VERSION:
        return
    if version is None:
        home.mkdir(parents=True, exist_ok=True)
        _write(home, {"home_version": HOME_VERSION, "written_by": written_by()})
        return
    with home_lock(home):
        version = home_version(home) or version
        if version == HOME_VERSION:  # another process upgraded the home first
            return
        try:
            backup = _backup_of(settings, version)
            for number in range(version, HOME_VERSION):
                _STEPS[number](settings)
        except (OSError, sqlite3.DatabaseError) as error:
            raise HomeVersionError(
                f"{home} is a home of version {version} and cannot be upgraded to {HOME_VERSION}: {error}. "
                "Put that right and start again; what was begun is done again"
            ) from error
        _write(home, {"home_version": HOME_VERSION, "written_by": written_by()})
    _LOG.warning("%s: upgraded from version %s to %s; backup in %s", home, version, HOME_VERSION, backup)


def _remove_what_is_rebuilt(settings: Settings) -> None:
    """Upgrade from 1 to 2: remove the warehouse, whose relations were renamed, and dbt's files.

    The next night builds all of them again.
    """
    for folder in _rebuilt(settings):
        if folder.exists():
            shutil.rmtree(folder)


def _rebuilt(settings: Settings) -> tuple[Path, Path]:
    """The folders that a night builds again: the warehouse and dbt's target folder."""
    return settings.warehouse, settings.dbt_target


_STEPS: Mapping[int, Callable[[Settings], None]] = {1: _remove_what_is_rebuilt}


def _backups(home: Path) -> Path:
    """The folder of a home's backups, beside the home."""
    return home.with_name(f"{home.name}-backups")


def _backup_of(settings: Settings, version: int) -> Path:
    """Return the backup of an upgrade that was interrupted; make a backup if there is none."""
    home = settings.home
    begun = _read(home) or {}
    if "backup" in begun and Path(begun["backup"]).exists():
        return Path(begun["backup"])
    backup = _backups(home) / f"home-v{version}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    making = backup.with_name(f".{backup.name}.making")
    for unfinished in _backups(home).glob(".*.making"):
        shutil.rmtree(unfinished)
    making.mkdir(parents=True)
    for name in _DATABASES:
        if (home / name).exists():
            (making / name).parent.mkdir(parents=True, exist_ok=True)
            _copy_database(home / name, making / name)
    for name in _NEVER_CHANGED:
        if (home / name).exists():
            shutil.copytree(home / name, making / name, symlinks=True, copy_function=_link)
    head = settings.audit_head_file
    if head.exists():
        shutil.copyfile(head, making / _HEAD)
    commands = "\n".join(f"    {command}" for command in _restoring(settings, backup))
    words = _RESTORE.format(home=home, old=version, new=HOME_VERSION, commands=commands)
    (making / "restore.txt").write_text(words)
    flush(making)
    making.replace(backup)
    flush(backup.parent)
    # From now on, steps may have run. A second start must not back up a home that is half upgraded.
    _write(home, {"home_version": version, "upgrading_to": HOME_VERSION, "backup": str(backup)})
    return backup


def _restoring(settings: Settings, backup: Path) -> list[str]:
    """Return the shell commands that restore a backup."""
    home, head = settings.home, settings.audit_head_file
    gone = [VERSION_FILE, *_NEVER_CHANGED, *(str(p.relative_to(home)) for p in _rebuilt(settings))]
    commands = [
        f"rm -rf {' '.join(shlex.quote(str(home / name)) for name in gone)}",
        f"cp -a {shlex.quote(str(backup))}/. {shlex.quote(str(home))}/",
    ]
    if head != home / _HEAD:
        commands.append(f"mv {shlex.quote(str(home / _HEAD))} {shlex.quote(str(head))}")
    return commands


def _copy_database(source: Path, target: Path) -> None:
    """Copy a database completely, including the changes that SQLite still keeps in a journal."""
    with closing(sqlite3.connect(source)) as db, closing(sqlite3.connect(target)) as copy:
        db.backup(copy)


def _link(source: str, target: str) -> None:
    """Make a hard link; copy the file if the file system supports no links."""
    with suppress(OSError):
        os.link(source, target, follow_symlinks=False)
        return
    shutil.copy2(source, target)


def _read(home: Path) -> dict[str, Any] | None:
    """Return the content of the version file; None if there is no version file."""
    path = home / VERSION_FILE
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        if int(found["home_version"]) < 1:
            raise ValueError("versions begin with 1")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HomeVersionError(
            f"{path} cannot be read ({error!r}): restore it from a backup, or write the home's version into it, "
            f'for example {{"home_version": {HOME_VERSION}}}'
        ) from None
    return found


def _write(home: Path, values: Mapping[str, object]) -> None:
    replace_text(home / VERSION_FILE, json.dumps(values, indent=1) + "\n")
