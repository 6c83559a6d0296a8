"""Imports slow libraries while this process waits for another one.

A night waits for dbt, and needs seconds to import Great Expectations, XGBoost, scikit-learn and MLflow. A thread
imports them during the wait. It runs only during the wait, because two threads that import at the same time can see
half-imported modules.
"""

import contextlib
import importlib
import threading
from collections.abc import Iterator

from dagster_project.night.pipeline import Pipeline

_CHECKS, _SCORING = ("great_expectations",), ("xgboost",)
_TRAINING = ("sklearn.model_selection", "scipy.stats", "matplotlib.figure", "mlflow.xgboost")


@contextlib.contextmanager
def importing_meanwhile(pipeline: Pipeline) -> Iterator[None]:
    """Import the libraries that the night needs while the body of the `with` statement runs.

    At the end it waits for the library that is being imported. The others are imported where they are used.
    """
    is_over = threading.Event()

    def run() -> None:
        for name in _needed(pipeline):
            if is_over.is_set():
                return
            with contextlib.suppress(ImportError):  # the code that needs the library raises the error
                importlib.import_module(name)

    thread = threading.Thread(target=run, name="imports")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _needed(pipeline: Pipeline) -> tuple[str, ...]:
    """The libraries for checks and scoring, and also those for training if a source has no champion yet."""
    is_trained = all(pipeline.champion(source) for source in pipeline.sources)
    return (*_CHECKS, *_SCORING, *(() if is_trained else _TRAINING))
