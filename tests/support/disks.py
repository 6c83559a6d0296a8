"""Small file systems in memory, and a way to fill them up."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(place: Path, megabytes: int) -> Iterator[Path]:
    """Mount a small file system in memory at `place`, and unmount it when the context ends.

    If the test may not mount file systems on this machine, the test is skipped with a message.
    """
    place.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    try:
        done = subprocess.run(line, capture_output=True, text=True)
    except FileNotFoundError as error:
        pytest.skip(f"no small file system can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"no small file system may be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


class Filler:
    """A file that fills a disk until only a given number of bytes is free."""

    def __init__(self, disk: Path) -> None:
        self._file = disk / "filler"

    def leave(self, room: int) -> None:
        self.remove()
        free = shutil.disk_usage(self._file.parent).free
        with self._file.open("wb") as handle:
            block = b"\0" * (1 << 16)
            for _ in range(max(free - room, 0) // len(block)):
                handle.write(block)
            handle.write(block[: max(free - room, 0) % len(block)])

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)
