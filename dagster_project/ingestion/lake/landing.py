"""The landing folder: copies files into it, lists the waiting files, and finds the landing day of each."""

import hashlib
import shutil
from collections.abc import Iterable
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path

from dagster_project.ingestion.contracts.contract import DONE, PackagedFile
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.lake.context import IngestContext
from dagster_project.ingestion.parsing.manifest import manifest_of


def land_packaged(source: Source, context: IngestContext) -> bool:
    """Copy the source's data file from a Python distribution into the landing folder, unless it was ingested before.

    Returns whether the file was copied. Nothing is copied if other files wait, or if the source was ever accepted.

    Raises:
        FileNotFoundError: the distribution is not installed, or does not ship the file.
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


def land_folder(source: Source, context: IngestContext, folder: Path) -> list[str]:
    """Copy all files of a folder tree for which the contract has a layout. Returns their names.

    A file is copied under a hidden name and then renamed, so that a night never sees an incomplete file.
    """
    target = context.landing / source.name
    target.mkdir(parents=True, exist_ok=True)
    found = sorted(p for p in folder.rglob("*") if p.is_file() and source.contract.layout_of(p.name))
    for path in found:
        for file in (path, manifest_of(path)):
            if file.exists():
                arriving = target / f".{file.name}.arriving"
                shutil.copyfile(file, arriving)
                arriving.replace(target / file.name)
    return [path.name for path in found]


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
    """The files in the source's landing folder that are ready for ingestion, sorted by name; see also `unfinished`.

    `on`: the day of a replay; files that arrive later, according to their names, are left out. None: all files.
    """
    files = [p for p in _deliveries(source, context) if not _is_unfinished(source, p)]
    if on is None:
        return files
    return [p for p in files if (source.contract.arrives_on(p.name) or on) <= on]


def unfinished(source: Source, context: IngestContext) -> list[Path]:
    """The files that are not ready (WAITING): they have a hidden name, or the required manifest is missing."""
    return [p for p in _deliveries(source, context) if _is_unfinished(source, p)]


def _deliveries(source: Source, context: IngestContext) -> list[Path]:
    """All deliveries in the landing folder, complete or not; symbolic links are ignored, as they may point anywhere."""
    folder = context.landing / source.name
    found = sorted(folder.glob("*")) if folder.exists() else []
    return [p for p in found if p.is_file() and not p.is_symlink() and not p.name.endswith(DONE)]


def _is_unfinished(source: Source, path: Path) -> bool:
    layout = source.contract.layout_of(path.name)
    return path.name.startswith(".") or (layout is not None and layout.manifest and not manifest_of(path).exists())


def strays(context: IngestContext, sources: Iterable[str]) -> list[str]:
    """The files and links in the landing folder that no source will ever ingest, as paths relative to it."""
    names = set(sources)
    files = [p for p in context.landing.rglob("*") if p.is_file() or p.is_symlink()]
    paths = ((p.relative_to(context.landing), p.is_symlink()) for p in files)
    return sorted(str(p) for p, is_link in paths if len(p.parts) != 2 or p.parts[0] not in names or is_link)


def landing_day(source: Source, path: Path) -> date:
    """The partition of a waiting file: the day of arrival in its name, or else the day on which it was copied."""
    return source.contract.landing_day(path.name, datetime.fromtimestamp(path.stat().st_ctime, UTC).date())
