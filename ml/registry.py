"""Write to MLflow: runs, pictures, registered models, aliases, and descriptions. Only this module imports MLflow.

People compare models in MLflow. The promotion ledger decides which model scores; an alias only shows it.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ml import experiment
from ml.candidate import Candidate
from ml.model import SCORING_FILE
from ml.promote import Decision
from ml.splits import OUT_OF_TIME
from ml.train import TARGET
from ml.training_set import TrainingSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHAMPION, CANDIDATE = "champion", "candidate"
CARD_FILE = "card.md"
_SHA_TAG = "model_sha256"
_NOTE = "mlflow.note.content"  # MLflow stores the description of a run or an experiment in this tag


def model_name(source: str) -> str:
    """The name under which a source's model is registered. Its experiment has the same name."""
    return f"credit_pd_{source}"


@dataclass(frozen=True)
class Registered:
    """Where MLflow has a candidate: registered name, version, and id of its run."""

    name: str
    version: str
    run_id: str


@dataclass(frozen=True)
class Registry:
    """An MLflow store. `uri`: its database for tracking and registry; `artifacts`: absolute path of its artifacts."""

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
        title: str,
    ) -> Registered:
        """Log one run with all that modellers compare, and register its model.

        If a version with the same sha256 is registered already, return that version and log nothing.

        Args:
            candidate: the judged candidate.
            training: its training set; only schema, size and digest of each block are logged.
            training_file: the file of the training set; the run's datasets name it as their source.
            model_folder: folder of the saved model.
            figures: pictures by file name.
            params: hyper-parameters and other settings of the fit.
            tags: revisions of code, data and lock file, and the model's sha256 (`model_sha256`).
            title: the source's title.
        """
        mlflow = self._mlflow()
        source = candidate.model.source
        name = model_name(source)
        before = self._registered(mlflow, name, tags[_SHA_TAG])
        if before:
            return before
        self._experiment(mlflow, source, title)
        with mlflow.start_run(run_name=experiment.run_name(candidate, training), tags=_tags(candidate, tags)) as run:
            mlflow.log_params({"algorithm": "xgboost", **params})
            mlflow.log_metrics(_metrics(candidate))
            _log_curve(mlflow, run.info.run_id, candidate)
            mlflow.MlflowClient().log_inputs(run.info.run_id, _datasets(mlflow, candidate, training, training_file))
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
            mlflow.MlflowClient().set_model_version_tag(name, version, _SHA_TAG, tags[_SHA_TAG])
            return Registered(name, version, run.info.run_id)

    def decided(self, decision: Decision, run_name: str, card: str) -> None:
        """Show a decision in MLflow: set the run's name and tags, and the model version's tags, alias and card.

        Scoring does not read them; it reads the ledger. A second call changes nothing.
        """
        client = self._mlflow().MlflowClient()
        name, version = decision.model_name, decision.model_version
        client.update_run(decision.run_id, name=run_name)
        shown = {"decision": decision.decision, "decision_reason": decision.reason, "model_version": version}
        for key, value in {**shown, _NOTE: _note(decision)}.items():
            client.set_tag(decision.run_id, key, value)
        client.log_text(decision.run_id, card, CARD_FILE)
        client.update_model_version(name, version, card)
        for key in ("auc", "slope", "judged_on"):
            client.set_model_version_tag(name, version, key, str(decision.evidence[key]))
        client.set_model_version_tag(name, version, "decision", decision.decision)
        if decision.decision == "promoted":
            client.set_registered_model_alias(name, CHAMPION, version)
            client.update_registered_model(name, f"The card of the champion:\n\n{card}")
        if decision.decision == "held":
            client.set_registered_model_alias(name, CANDIDATE, version)

    def _registered(self, mlflow: Any, name: str, sha256: str) -> Registered | None:
        """The version with this hash; None if there is none.

        There is one if a night crashed before its decision, or trained again on unchanged data.
        """
        versions = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
        found = [v for v in versions if v.tags.get(_SHA_TAG) == sha256]
        return Registered(name, str(found[0].version), found[0].run_id) if found else None

    def _experiment(self, mlflow: Any, source: str, title: str) -> None:
        """Make the source's experiment current, and update its description: a new release may change the text."""
        name = model_name(source)
        if mlflow.get_experiment_by_name(name) is None:
            mlflow.create_experiment(name, artifact_location=(self.artifacts / name).as_uri())
        current = mlflow.set_experiment(name).experiment_id
        mlflow.set_experiment_tags(
            {
                _NOTE: experiment.about(source, title, name, current),
                "source": source,
                "mlflow.experimentKind": "custom_model_development",  # else MLflow asks whether the runs are chats
                f"mlflow.sharedViewState.{experiment.VIEW_KEY}": experiment.compare_view(),
            }
        )

    def _mlflow(self) -> Any:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        import mlflow
        import mlflow.xgboost

        for name in ("alembic", "mlflow"):  # after the import, because importing sets these levels, too
            logging.getLogger(name).setLevel(logging.ERROR)
        self.artifacts.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        return mlflow


def _tags(candidate: Candidate, traced: Mapping[str, str]) -> dict[str, str]:
    """The tags for searching runs, followed by the `traced` tags, which trace a run to its inputs."""
    split = "borrower, last months apart" if OUT_OF_TIME in candidate.block_rows else "borrower"
    searched = {"source": candidate.model.source, "split": split, "decision": experiment.UNDECIDED}
    return {**searched, **candidate.tags(), **traced}


def _metrics(candidate: Candidate) -> dict[str, float]:
    """All figures, with those of `experiment.COMPARED` first: MLflow keeps the order."""
    figures = candidate.metrics() | candidate.learning()
    return {name: float(figures[name]) for name in dict.fromkeys((*experiment.COMPARED, *figures))}


def _note(decision: Decision) -> str:
    """The description of a run. It links to the card, because a whole card would push the metrics off the page."""
    return (
        f"**{decision.decision}**: {decision.reason}. The card is at "
        f"[{decision.model_name} version {decision.model_version}]"
        f"(#/models/{decision.model_name}/versions/{decision.model_version}), and among the artifacts as `{CARD_FILE}`."
    )


def _log_curve(mlflow: Any, run_id: str, candidate: Candidate) -> None:
    """Log the learning curve in one batch, because one call per point would take longer than the fit."""
    fit, now = candidate.model.fit, int(time.time() * 1000)
    points = [
        mlflow.entities.Metric(f"{experiment.CURVE}/{name}", values[i], now, i + 1)
        for name, values in sorted(fit.curve.items())
        for i in experiment.curve_rounds(len(values), fit.best_iteration)
    ]
    mlflow.MlflowClient().log_batch(run_id, metrics=points)


def _datasets(mlflow: Any, candidate: Candidate, training: TrainingSet, file: Path) -> list[Any]:
    """One MLflow dataset per block: name, schema, size, digest. It has no rows and no IDs of borrowers or loans."""
    from mlflow.types.schema import ColSpec, Schema

    columns = [*(ColSpec("double", name) for name in candidate.model.fit.features), ColSpec("long", TARGET)]
    schema = json.dumps({"mlflow_colspec": Schema(columns).to_dict()})
    with file.open("rb") as handle:
        content = hashlib.file_digest(handle, "sha256").hexdigest()
    found = []
    for name, height in candidate.block_rows.items():
        rows = training.block(name)
        size = {"num_rows": height, "num_elements": height * len(columns), "defaults": int(rows[TARGET].sum())}
        dataset = mlflow.entities.Dataset(
            name=f"{candidate.model.source}_{name}",
            digest=hashlib.sha256(f"{content}|{name}".encode()).hexdigest()[:32],
            source_type="local",
            source=json.dumps({"uri": str(file)}),
            schema=schema,
            profile=json.dumps(size),
        )
        context = mlflow.entities.InputTag("mlflow.data.context", f"{name}, {height:,} rows")
        found.append(mlflow.entities.DatasetInput(dataset, [context]))
    return found


def _signature(mlflow: Any, candidate: Candidate, training: TrainingSet) -> Any:
    """The model's signature. All inputs are doubles: a signature with narrower types refuses ordinary frames."""
    names = list(candidate.model.fit.features)
    rows = training.frame.head(100).select(pl.col(names).cast(pl.Float64)).to_pandas()
    outputs = candidate.model.calibrated_pd(training.frame.head(100))
    return mlflow.models.infer_signature(rows, outputs)


def _version(distribution: str) -> str:
    from importlib.metadata import version

    return version(distribution)
