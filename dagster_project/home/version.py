"""The version of a home, and the upgrade of an older home.

A home is upgraded before anything is written to it. A home that was written by newer code is refused. The file
`version.json` contains the version. If this file is missing and a night has run, the home has version 1. There is one
upgrade step from each version to the next.

Before the first step, everything that a night cannot build again is backed up in a folder beside the home:

    HOME-backups/home-v1-<time>/    receipts, audit chain and head, promotion ledger, outbox, MLflow's database, models,
                                    published snapshots, and `restore.txt`, which explains how to go back

Databases are copied. Models and snapshots are hard links, because their files never change. The Parquet files of the
lake, the quarantine, the vault and the originals are not in the backup, for two reasons: no step changes them, and an
erasure must be able to find all data of a person. For the second reason, a backup also contains no keys.

This module does not use Dagster.
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
    """Raised if this code cannot work with the version of the home, or if the home could not be upgraded."""


def home_version(home: Path) -> int | None:
    """Return the version of a home, or None if it has no version file and no night has run in it.

    If it has no version file but a night has run in it, the version is 1.

    Raises:
        HomeVersionError: if the version file cannot be read.
    """
    found = _read(home)
    if found is not None:
        return int(found["home_version"])
    return 1 if any((home / name).exists() for name in _LEFT_BY_A_NIGHT) else None


def check_home(home: Path) -> None:
    """Raise an error if a home was written by newer code than this.

    An older home is accepted, because code that only reads does not need an upgrade.

    Raises:
        HomeVersionError: if the home is newer than this code, or if its version file cannot be read.
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
    """Upgrade an older home to the version of this code, or write the version into a new home.

    A home that already has this version is not changed. Call this function before anything is written to the home. If
    an upgrade was interrupted, all its steps run again, and the backup that was already made is kept.

    Args:
        settings: the settings, which contain the path of the home.
        written_by: a function that returns a readable name of this code. It is called only when the version is written.

    Raises:
        HomeVersionError: if the home is newer than this code, or if it cannot be backed up or upgraded.
        NightRunningError: if the home needs an upgrade, but a night is running in it.
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
    """Upgrade a home from version 1 to 2 by removing the warehouse and dbt's target folder.

    The relations of the warehouse have new names in version 2. The next night builds both folders again.
    """
    for folder in _rebuilt(settings):
        if folder.exists():
            shutil.rmtree(folder)


def _rebuilt(settings: Settings) -> tuple[Path, Path]:
    """Return the folders that a night can build again: the warehouse and dbt's target folder."""
    return settings.warehouse, settings.dbt_target


_STEPS: Mapping[int, Callable[[Settings], None]] = {1: _remove_what_is_rebuilt}


def _backups(home: Path) -> Path:
    """Return the folder of a home's backups, which is beside the home."""
    return home.with_name(f"{home.name}-backups")


def _backup_of(settings: Settings, version: int) -> Path:
    """Make a backup of the home before an upgrade, and return its path.

    If an interrupted upgrade has already made a backup, return the path of that backup instead. `version` is the
    version of the home before the upgrade.
    """
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
    """Return the shell commands with which a user can restore a backup."""
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
    """Copy a SQLite database, including the changes that are still in its journal."""
    with closing(sqlite3.connect(source)) as db, closing(sqlite3.connect(target)) as copy:
        db.backup(copy)


def _link(source: str, target: str) -> None:
    """Make a hard link to a file, or copy the file if a link cannot be made."""
    with suppress(OSError):
        os.link(source, target, follow_symlinks=False)
        return
    shutil.copy2(source, target)


def _read(home: Path) -> dict[str, Any] | None:
    """Return the content of the version file, or None if there is no version file.

    Raises:
        HomeVersionError: if the file cannot be read, or if it contains no valid version.
    """
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
