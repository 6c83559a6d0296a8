"""The only module that knows MLflow: runs, pictures, registered models, the champion's alias.

MLflow is where people compare and look; what scores is pinned by the promotion ledger, not by an alias.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ml.candidate import Candidate
from ml.model import SCORING_FILE
from ml.training_set import TrainingSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHAMPION = "champion"
_SHA_TAG = "model_sha256"


def model_name(source: str) -> str:
    """Registered name of a source's model, and of its experiment."""
    return f"credit_pd_{source}"


@dataclass(frozen=True)
class Registered:
    """Where a candidate went."""

    name: str
    version: str
    run_id: str


@dataclass(frozen=True)
class Registry:
    """An MLflow store. `uri`: tracking and registry database; `artifacts`: absolute folder of the artifacts."""

    uri: str
    artifacts: Path

    def register(
        self,
        candidate: Candidate,
        training: TrainingSet,
        training_file: Path,
        model_folder: Path,
        figures: "Mapping[str, Figure]",
        params: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> Registered:
        """Log one run with everything that a modeller compares, and register its model.

        Args:
            candidate: the judged candidate.
            training: the set that it was trained on; only its schema, size and digest are logged.
            training_file: where that set lies; the run's dataset names it as its source.
            model_folder: the saved model.
            figures: pictures by file name.
            params: hyper-parameters and whatever else decided the fit.
            tags: code, data and lock revisions.
        """
        mlflow = self._mlflow()
        name = model_name(candidate.model.source)
        before = self._registered(mlflow, name, tags["model_sha256"])
        if before:
            return before
        if mlflow.get_experiment_by_name(name) is None:
            mlflow.create_experiment(name, artifact_location=(self.artifacts / name).as_uri())
        mlflow.set_experiment(name)
        performance = candidate.performance
        title = (
            f"xgboost auc={performance.auc:.4f} slope={performance.slope:.2f} rounds={candidate.metrics()['rounds']}"
        )
        with mlflow.start_run(run_name=title, tags=dict(tags)) as run:
            mlflow.log_params(dict(params))
            mlflow.log_metrics({key: float(value) for key, value in candidate.metrics().items()})
            mlflow.log_input(_dataset(mlflow, training, training_file, tags["training_set_sha256"]), context="training")
            for file, figure in figures.items():
                mlflow.log_figure(figure, f"pictures/{file}")
            mlflow.log_artifact(str(model_folder / SCORING_FILE))
            logged = mlflow.xgboost.log_model(
                candidate.model.fit.booster,
                name="model",
                model_format="ubj",
                signature=_signature(mlflow, candidate, training),
                pip_requirements=[f"xgboost-cpu=={_version('xgboost-cpu')}", f"numpy=={_version('numpy')}"],
                registered_model_name=name,
            )
            version = str(logged.registered_model_version)
            mlflow.MlflowClient().set_model_version_tag(name, version, _SHA_TAG, tags["model_sha256"])
            return Registered(name, version, run.info.run_id)

    def _registered(self, mlflow: Any, name: str, sha256: str) -> Registered | None:
        """The version of these very bytes, if a crash came between registering and deciding."""
        versions = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
        found = [v for v in versions if v.tags.get(_SHA_TAG) == sha256]
        return Registered(name, str(found[0].version), found[0].run_id) if found else None

    def crown(self, registered: Registered) -> None:
        """Point the alias `champion` at a version, for people; scoring reads the ledger."""
        self._mlflow().MlflowClient().set_registered_model_alias(registered.name, CHAMPION, registered.version)

    def _mlflow(self) -> Any:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        import mlflow
        import mlflow.xgboost

        for name in ("alembic", "mlflow"):  # set after the import, which sets them too
            logging.getLogger(name).setLevel(logging.ERROR)
        self.artifacts.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        return mlflow


def _dataset(mlflow: Any, training: TrainingSet, training_file: Path, sha256: str) -> Any:
    """Name, schema, size and digest; no row, and no identifier of a borrower or a loan."""
    columns = training.frame.drop("borrower_id", "loan_id").to_pandas()
    return mlflow.data.from_pandas(columns, source=str(training_file), name=training_file.stem, digest=sha256[:32])


def _signature(mlflow: Any, candidate: Candidate, training: TrainingSet) -> Any:
    """Inferred on doubles: a signature of narrower types refuses ordinary frames."""
    names = list(candidate.model.fit.features)
    rows = training.frame.head(100).select(pl.col(names).cast(pl.Float64)).to_pandas()
    outputs = candidate.model.platt.pd(candidate.model.fit.margin(training.frame.head(100)))
    return mlflow.models.infer_signature(rows, outputs)


def _version(distribution: str) -> str:
    from importlib.metadata import version

    return version(distribution)
