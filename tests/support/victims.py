"""Processes that are killed on the way; the torture suite starts one parent of them and lets it fork."""

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent


class Victims:
    """Processes that do one thing in a home, in groups of their own, some of which are killed on the way.

    One process imports everything once and forks for each of them; see `victim_process.py`.
    """

    def __init__(self) -> None:
        folders = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.victim_process"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Victims":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(60)

    def run(self, what: str, home: Path, **more: object) -> dict:
        """Do one thing; returns `killed`, `lines` (executed in the modules that are watched) and `error`.

        `kill_at`: the number of the line before which the group is killed; `kill_after`: or seconds after which.
        """
        return self.run_all([{"what": what, "home": str(home), **more}])[0]

    def run_all(self, jobs: list[dict]) -> list[dict]:
        """Several at once."""
        self._process.stdin.write(json.dumps(jobs) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())
