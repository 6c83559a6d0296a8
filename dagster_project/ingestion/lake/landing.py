"""Functions for the landing folder: they copy files into it, list the waiting files, and find their landing days."""

import filecmp
import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path

from dagster_project.ingestion.contracts.contract import DONE, PackagedFile
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.parsing.manifest import manifest_of


def land_packaged(source: Source, context: IngestContext) -> bool:
    """Copy the data file that a Python distribution contains for this source into the landing folder.

    Returns whether the file was copied. Nothing is copied if the contract names no such file, if any file of the source
    is waiting, if any delivery of the source was ever accepted, or if this file already has a receipt.

    Raises:
        FileNotFoundError: the distribution is not installed, or does not contain the file.
    """
    packaged = source.contract.packaged
    if packaged is None or waiting(source, context) or context.book.has_accepted(source.name):
        return False
    content = _shipped(source.name, packaged)
    if context.book.find(source.name, hashlib.sha256(content).hexdigest(), source.contract.version):
        return False
    folder = context.landing / source.name
    folder.mkdir(parents=True, exist_ok=True)
    arriving = folder / f".{Path(packaged.path).name}.arriving"
    arriving.write_bytes(content)
    arriving.replace(folder / Path(packaged.path).name)
    return True


class LandingError(ValueError):
    """Raised if files cannot be landed without losing one of them. The message names the files and says what to do."""


@dataclass(frozen=True)
class Landed:
    """What happened to the files of a folder that was landed. All lists are sorted.

    Attributes:
        copied: the names of the copied files, without their manifests.
        repeated: the files that were not copied because the same content waits under the same name.
        passed_over: the files that were not copied because no layout of the contract has a pattern for their name, or
            because they are manifests without a file.
    """

    copied: list[str]
    repeated: list[str]
    passed_over: list[str]


def land_folder(source: Source, context: IngestContext, folder: Path) -> Landed:
    """Copy all files in a folder and its subfolders that match a layout of the contract into the landing folder.

    Manifests are copied with their files. A file is copied under a hidden name and then renamed, so that a night never
    reads an incomplete file. Hidden files are ignored. The lists in the result have paths relative to `folder`, except
    `copied`, which has the names in the landing folder.

    Raises:
        LandingError: two files with different content have the same name, apart from upper and lower case, or another
            file with this name is waiting in the landing folder. Nothing is copied.
    """
    target = context.landing / source.name
    target.mkdir(parents=True, exist_ok=True)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not _is_hidden(p.relative_to(folder)))
    matching = [p for p in files if source.contract.layout_of(p.name)]
    described = {manifest_of(p) for p in matching}
    manifests = [p for p in files if p in described]
    # Names that differ only in upper and lower case are one name on some file systems.
    present = {p.name.casefold(): p for p in target.iterdir() if not p.name.startswith(".")}
    copied, repeated = [], []
    for path in matching + manifests:  # a manifest says that its file is complete, so it comes later
        other = present.setdefault(path.name.casefold(), path)
        if other is path:
            copied.append(path)
        elif filecmp.cmp(path, other, shallow=False):
            repeated.append(path)
        else:
            is_waiting = other.parent == target
            advice = "waits: run `creditloom night` first, or" if is_waiting else "comes with it:"
            raise LandingError(
                f"{path} was not copied, because another file with this name and other content {advice} rename "
                f"one of them ({other}). Nothing was copied"
            )
    for path in copied:
        arriving = target / f".{path.name}.arriving"
        shutil.copyfile(path, arriving)
        arriving.replace(target / path.name)
    passed_over = [p for p in files if p not in described and p not in matching]
    return Landed(
        copied=[p.name for p in copied if p not in described],
        repeated=[str(p.relative_to(folder)) for p in repeated if p not in described],
        passed_over=[str(p.relative_to(folder)) for p in passed_over],
    )


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _shipped(source: str, packaged: PackagedFile) -> bytes:
    hint = f"install it with `make run` or from requirements-data.lock ({packaged.distribution})"
    try:
        files = metadata.files(packaged.distribution) or []
    except metadata.PackageNotFoundError:
        raise FileNotFoundError(f"{source}: its data package is not installed; {hint}") from None
    for item in files:
        if str(item).endswith(packaged.path):
            return Path(str(item.locate())).read_bytes()
    raise FileNotFoundError(f"{source}: {packaged.distribution} does not ship {packaged.path}; {hint}")


def waiting(source: Source, context: IngestContext, on: date | None = None) -> list[Path]:
    """Return the paths of the files of a source that are ready for ingestion, sorted by name.

    `on` is the day of a replay. Files that arrive after this day, according to the date in their names, are left out.
    Files without a date in their names are always returned. If `on` is None, all files that are ready are returned.

    For files that are not ready, see `unfinished`.
    """
    files = [p for p in _deliveries(source, context) if not _is_unfinished(source, p)]
    if on is None:
        return files
    return [p for p in files if (source.contract.arrives_on(p.name) or on) <= on]


def unfinished(source: Source, context: IngestContext) -> list[Path]:
    """Return the paths of the files of a source that are not ready for ingestion (WAITING).

    A file is not ready if its name is hidden, or if the contract requires a manifest and there is none.
    """
    return [p for p in _deliveries(source, context) if _is_unfinished(source, p)]


def _deliveries(source: Source, context: IngestContext) -> list[Path]:
    """Return the paths of all deliveries of a source in the landing folder, whether complete or not.

    Manifests are left out. Symbolic links are left out as well, because they could point to any file.
    """
    folder = context.landing / source.name
    found = sorted(folder.glob("*")) if folder.exists() else []
    return [p for p in found if p.is_file() and not p.is_symlink() and not p.name.endswith(DONE)]


def _is_unfinished(source: Source, path: Path) -> bool:
    layout = source.contract.layout_of(path.name)
    return path.name.startswith(".") or (layout is not None and layout.manifest and not manifest_of(path).exists())


def strays(context: IngestContext, sources: Iterable[str]) -> list[str]:
    """Return the files and symbolic links in the landing folder that no source will ever ingest.

    These are all symbolic links, and all files that are not directly in the folder of one of `sources`. The paths are
    relative to the landing folder, and sorted.
    """
    names = set(sources)
    files = [p for p in context.landing.rglob("*") if p.is_file() or p.is_symlink()]
    paths = ((p.relative_to(context.landing), p.is_symlink()) for p in files)
    return sorted(str(p) for p, is_link in paths if len(p.parts) != 2 or p.parts[0] not in names or is_link)


def landing_day(source: Source, path: Path) -> date:
    """Return the landing day of a waiting file, which is its Dagster partition.

    This is the day of arrival that the file name implies. If the name has no date, it is the day (UTC) on which the
    file was copied into the landing folder.
    """
    return source.contract.landing_day(path.name, datetime.fromtimestamp(path.stat().st_ctime, UTC).date())
