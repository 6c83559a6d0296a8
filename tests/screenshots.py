"""Pictures of the screens for the README: `python tests/screenshots.py HOME`, a home whose source has two runs.

Each picture is a page of a real server over that home, as the system's Chromium shows it. More pages are one line each
in `mlflow_pages`, or a function like it beside another server.
"""

import json
import sqlite3
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from browser_support import ABSENT, Troubles, chromium, mlflow_server, new_context, started_browser
from tests_support import pipeline_in

from dagster_project.resources import Pipeline
from dagster_project.settings import PROJECT_ROOT
from ml.experiment import VIEW_KEY

IMAGES = PROJECT_ROOT / "docs" / "images"
LARGEST = 200_000


def shoot(pages: Mapping[str, tuple[str, str]], folder: Path = IMAGES) -> list[Path]:
    """Write `folder/<name>.png` of each page, once a text that must be there is seen.

    Args:
        pages: address and awaited text of each page, by the picture's name.
        folder: where the pictures go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    troubles, made = Troubles(), []
    with started_browser() as browser:
        for name, (address, awaited) in pages.items():
            context = new_context(browser)
            troubles.watch(context)
            page = context.new_page()
            page.goto(address)
            page.get_by_text(awaited).first.wait_for()
            page.wait_for_timeout(4000)  # charts come late and glide into place; MLflow's polling never leaves it idle
            made.append(folder / f"{name}.png")
            page.screenshot(path=made[-1], animations="disabled")
            context.close()
            assert made[-1].stat().st_size < LARGEST, f"{made[-1]} is too large for a repository"
    assert not troubles.found, troubles.found
    return made


def mlflow_pages(pipeline: Pipeline, address: str) -> dict[str, tuple[str, str]]:
    """Pages of the first source that has an experiment: its runs, two of them compared, curves, and the card."""
    with sqlite3.connect(pipeline.settings.mlflow / "mlflow.db") as db:
        ((experiment, model),) = db.execute(
            "select experiment_id, name from experiments where experiment_id > 0 order by experiment_id limit 1"
        ).fetchall()
        runs = [
            run
            for (run,) in db.execute(
                "select run_uuid from runs where experiment_id = ? order by start_time", (experiment,)
            ).fetchall()
        ]
    runs_page = f"{address}/#/experiments/{experiment}/runs"
    both = json.dumps(runs[:2], separators=(",", ":")).replace('"', "%22")
    return {
        "mlflow-runs": (f"{runs_page}?viewStateShareKey={VIEW_KEY}", "v1 promoted"),
        "mlflow-compare": (f"{address}/#/compare-runs?runs={both}&experiments=[%22{experiment}%22]", "Run details"),
        "mlflow-curves": (f"{runs_page}/{runs[0]}/model-metrics", "val_logloss"),
        "mlflow-card": (f"{address}/#/models/{model}", "version 1: promoted"),
    }


def main() -> None:
    """Take MLflow's pictures."""
    if chromium() is None:
        sys.exit(ABSENT)
    pipeline = pipeline_in(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as logs, mlflow_server(pipeline, Path(logs)) as address:
        for picture in shoot(mlflow_pages(pipeline, address)):
            print(f"{picture.relative_to(PROJECT_ROOT)}  {picture.stat().st_size // 1000} kB")  # noqa: T201


if __name__ == "__main__":
    main()
