"""Runs as a program: a dbt process that parses the project at once, waits, and then builds. See `early_dbt`.

It gets the arguments of `dbt parse` as JSON, and the file descriptor for its report. The report is one line of JSON:
`error` is null, or the output of a parse that failed. Then it waits for one line of JSON on its standard input: the
arguments and the environment of the command to run. Its output and exit code are those of dbt's own program.

It ends when its standard input is closed, so it never outlives the night that started it.
"""

import json
import os
import sys
import tempfile
import threading


def main() -> None:
    """Parse, report, wait, and run one command."""
    parse, report = json.loads(sys.argv[1]), int(sys.argv[2])
    standard = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile("w+") as said:
        for stream in (1, 2):
            os.dup2(said.fileno(), stream)
        from dbt.cli.main import dbtRunner
        from dbt.contracts.graph.manifest import Manifest

        parsed = dbtRunner().invoke(parse)
        sys.stdout.flush()
        for stream, original in enumerate(standard, 1):
            os.dup2(original, stream)
        said.seek(0)
        error = None if parsed.success else said.read() + str(parsed.exception or "")
    with os.fdopen(report, "w") as out:
        out.write(json.dumps({"error": error}) + "\n")
    order = sys.stdin.readline()
    if not order:
        return
    command = json.loads(order)
    os.environ.update(command["environment"])
    threading.Thread(target=_end_with_the_night, daemon=True).start()
    # If the parse failed, dbt parses again, and reports the error in the format that its caller reads.
    manifest = parsed.result if isinstance(parsed.result, Manifest) else None
    done = dbtRunner(manifest=manifest).invoke(command["arguments"])
    sys.exit(0 if done.success else 2 if done.exception else 1)


def _end_with_the_night() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # the night was interrupted while this process waited
        sys.exit(1)
