"""Run the job `retrain` on the home in CREDITLOOM_HOME, in the same way as its schedule does.

This script exists because the `creditloom` command cannot run the job. It prints one JSON object with `exit` (0 if the
run succeeded, else 1) and `run_id`.
"""

import json
import sys

from dagster_project.definitions import build_defs
from dagster_project.defs.instance import open_instance
from dagster_project.defs.jobs import RETRAIN
from dagster_project.night.pipeline import load_pipeline


def main() -> None:
    """Run the job and print its result as JSON."""
    pipeline = load_pipeline()
    with open_instance(pipeline.settings) as instance:
        job = build_defs(pipeline).resolve_job_def(RETRAIN)
        done = job.execute_in_process(instance=instance, raise_on_error=False)
    sys.stdout.write(json.dumps({"exit": int(not done.success), "run_id": done.run_id}) + "\n")


if __name__ == "__main__":
    main()
