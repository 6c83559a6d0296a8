"""A recorder of the project's Python files that a run uses, in the order in which they are first used."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

from dagster_project.home.settings import PROJECT_ROOT

# Definitions are built before the first step; the way of a payment begins with the step that takes files in.
BEGIN = ("dagster_project/defs/assets/raw.py", "_ingest")


@contextmanager
def first_visits() -> Iterator[list[str]]:
    """Record the project's files whose functions are called while the context is active, in all threads.

    Recording starts with the first call of the function that `BEGIN` names. Yields a list of file paths relative to the
    project, in the order of first use. The list grows while the context is active.
    """
    visits: list[str] = []
    begun, seen, root = False, set[CodeType](), f"{PROJECT_ROOT}/"

    def note(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal begun
        code = frame.f_code
        if event != "call" or (begun and code in seen):
            return
        name = code.co_filename
        if not name.startswith(root):
            seen.add(code)
            return
        path = name.removeprefix(root)
        begun = begun or (path, code.co_name) == BEGIN
        if begun:
            seen.add(code)
            if path not in visits and "site-packages" not in path:
                visits.append(path)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield visits
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
