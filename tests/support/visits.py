"""Which of the project's files a run visits, in the order of the first visit."""

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
    """The Python files, by path in the project, in which a function is called from `BEGIN` on, in all threads."""
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
