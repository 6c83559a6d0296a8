"""`make screenshots`: take the README's pictures from running systems.

The script runs nights on the card data in a temporary folder. It makes three homes: one with a successful night, one
that was also retrained, and one with a night that a check stopped. Each picture shows a page of a real Dagster or
MLflow server for one of these homes, in the system's Chromium.
"""

import json
import sqlite3
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # for `support`, which has the tests' homes and browsers

from dagster_project.defs.instance import open_instance
from dagster_project.night.pipeline import Pipeline
from dagster_project.operations.run_night import Exit, run_night
from ml.experiment import VIEW_KEY
from support.browser import ABSENT, Troubles, chromium, dagster_server, mlflow_server, new_context, started_browser
from support.homes import home_with_challenger, home_with_stopped_night, pipeline_in

IMAGES = ROOT / "docs" / "images"
LARGEST = 200_000


@dataclass(frozen=True)
class Picture:
    """A page of which a picture is taken.

    Attributes:
        address: The address of the page.
        awaited: The picture is taken only after this text has appeared on the page.
        part: The part of the page to show, as (x, y, width, height) in pixels. None shows the whole visible page.
    """

    address: str
    awaited: str
    part: tuple[int, int, int, int] | None = None


def shoot(pictures: Mapping[str, Picture], folder: Path = IMAGES) -> list[Path]:
    """Write each picture to `folder/<name>.png`, and return the paths.

    Raises:
        AssertionError: If a picture is too large for the repository, or if the browser reported problems.
    """
    folder.mkdir(parents=True, exist_ok=True)
    troubles, made = Troubles(), []
    with started_browser() as browser:
        for name, picture in pictures.items():
            context = new_context(browser)
            troubles.watch(context)
            page = context.new_page()
            page.goto(picture.address)
            page.get_by_text(picture.awaited).first.wait_for()
            page.wait_for_timeout(8000)  # charts load late and move; waiting for an idle network fails, as MLflow polls
            made.append(folder / f"{name}.png")
            clip = dict(zip(("x", "y", "width", "height"), picture.part, strict=True)) if picture.part else None
            page.screenshot(path=made[-1], animations="disabled", clip=clip)
            context.close()
            assert made[-1].stat().st_size < LARGEST, f"{made[-1]} is too large for a repository"
    assert not troubles.found, troubles.found
    return made


def dagster_pages(_: Pipeline, address: str) -> dict[str, Picture]:
    """Return two Dagster pages: the assets that a payment passes through, and a table of the warehouse."""
    assets = f"{address}/assets"
    # Payments of cards are part of their statements.
    way = "raw/taiwan_cards/statements?view=lineage&lineageScope=downstream&lineageDepth=10"
    return {
        "dagster-way-of-a-payment": Picture(f"{assets}/{way}", "Graph depth", part=(240, 165, 1120, 735)),
        "dagster-table": Picture(f"{assets}/warehouse/feat_loan_months?view=overview", "Days past due at the"),
    }


def stopped_pages(pipeline: Pipeline, address: str) -> dict[str, Picture]:
    """Return two Dagster pages: a failed check, and the run that the check stopped.

    The picture of the run leaves out the stack trace, which shows local paths.
    """
    with open_instance(pipeline.settings) as instance:
        (run, *_) = instance.get_runs(limit=1)
    check = "raw/taiwan_cards/statements?view=checks&checkDetail=balance__to_not_be_null"
    return {
        "dagster-failed-check": Picture(f"{address}/assets/{check}", "line 17"),
        "dagster-stopped-night": Picture(
            f"{address}/runs/{run.run_id}", "A blocking check stopped the run", part=(240, 0, 1160, 757)
        ),
    }


def mlflow_pages(pipeline: Pipeline, address: str) -> dict[str, Picture]:
    """Return four MLflow pages for the first source that has an experiment.

    They show the runs, a comparison of two runs, the learning curves of a run, and the model card.
    """
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
        "mlflow-runs": Picture(f"{runs_page}?viewStateShareKey={VIEW_KEY}", "v1 promoted"),
        "mlflow-compare": Picture(
            f"{address}/#/compare-runs?runs={both}&experiments=[%22{experiment}%22]", "Run details"
        ),
        "mlflow-curves": Picture(f"{runs_page}/{runs[0]}/model-metrics", "val_logloss"),
        "mlflow-card": Picture(f"{address}/#/models/{model}", "version 1: promoted"),
    }


def main() -> None:
    """Run the nights, take the pictures, and print the size of each file."""
    if chromium() is None:
        sys.exit(ABSENT)
    with tempfile.TemporaryDirectory() as folder:
        night, compared, stopped = (Path(folder) / name for name in ("night", "compared", "stopped"))
        result = run_night(pipeline_in(night))
        assert result.exit is Exit.PUBLISHED, result.failures
        home_with_challenger(night, compared)
        home_with_stopped_night(night, stopped)
        for home, server, pages in (
            (night, dagster_server, dagster_pages),
            (stopped, dagster_server, stopped_pages),
            (compared, mlflow_server, mlflow_pages),
        ):
            pipeline = pipeline_in(home)
            with server(pipeline, Path(folder)) as address:
                for picture in shoot(pages(pipeline, address)):
                    print(f"{picture.relative_to(ROOT)}  {picture.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
