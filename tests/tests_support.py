"""What several test modules share."""

import os
from pathlib import Path

# A developer's own settings must not reach a test.
for _name in [n for n in os.environ if n.startswith("CREDITLOOM_")]:
    del os.environ[_name]

from dagster_project.resources import Pipeline, load_pipeline  # noqa: E402
from dagster_project.settings import Settings  # noqa: E402


def pipeline_in(home: Path, **more) -> Pipeline:
    """A pipeline whose data lies in `home`; `extra_checks` may be handed in."""
    return load_pipeline(Settings(home=home), **more)
