"""Processes that can be killed while they work, for the torture suite.

A single parent process starts all of them by forking.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent


class Victims:
    """Runs jobs on a home in separate process groups, some of which are killed while they work.

    One process imports all modules once and forks a new process for each job, as `victim_process.py` describes.
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
        """Run one job and return its result.

        The result contains `killed`, which is true if the process was killed. If it was not killed, the result also
        contains `error` (None or a message), `lines` (the number of lines executed in the watched modules, or 0 if they
        were not counted) and the values that the job returned.

        Args:
            what: the name of the job.
            home: the home that the job works on.
            more: further values of the job. With `kill_at` = n, the process group is killed just before the n-th
                execution of a line in the watched modules. With `kill_after`, it is killed after that many seconds.
        """
        return self.run_all([{"what": what, "home": str(home), **more}])[0]

    def run_all(self, jobs: list[dict]) -> list[dict]:
        """Run several jobs at the same time and return their results in the same order."""
        self._process.stdin.write(json.dumps(jobs) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())
