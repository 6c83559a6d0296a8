"""Functions for files with any content: hashes, flushing to disk, and atomic writes."""

import contextlib
import hashlib
import os
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes as hex digits. The file is read in blocks, so it may be large."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Flush a file to disk, or the entries of a folder, so that they survive a power cut.

    If the file system refuses to flush, the error is ignored.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        # Some file systems refuse to flush a folder; a rename in the folder is still atomic.
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def replace_text(path: Path, text: str) -> None:
    """Write a text to a file atomically, and replace the file if it exists.

    The text is written to a temporary file, which is then renamed. If several processes write the same file, the last
    rename wins.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    flush(temporary)
    temporary.replace(path)
    flush(path.parent)
