"""The job `retrain` on the data of CREDITLOOM_HOME, as the schedule starts it; the command line has none for it.

It prints one JSON object: whether it went well, and the id of its run.
"""

import json
import sys

from dagster_project.definitions import build_defs
from dagster_project.defs.instance import open_instance
from dagster_project.defs.jobs import RETRAIN
from dagster_project.night.pipeline import load_pipeline


def main() -> None:
    """Run it, print what came of it."""
    pipeline = load_pipeline()
    with open_instance(pipeline.settings) as instance:
        job = build_defs(pipeline).resolve_job_def(RETRAIN)
        done = job.execute_in_process(instance=instance, raise_on_error=False)
    sys.stdout.write(json.dumps({"exit": int(not done.success), "run_id": done.run_id}) + "\n")


if __name__ == "__main__":
    main()
