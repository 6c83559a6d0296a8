"""Recording of models in MLflow: runs, plots, registered models, aliases and descriptions.

Only this module imports MLflow. People use MLflow to compare models. The promotion ledger decides which model scores;
the alias in MLflow only displays that decision.
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
    """Return the name under which a source's model is registered. The source's experiment has the same name."""
    return f"credit_pd_{source}"


@dataclass(frozen=True)
class Registered:
    """The location of a candidate in MLflow: its registered name, its version and the ID of its run."""

    name: str
    version: str
    run_id: str


@dataclass(frozen=True)
class Registry:
    """An MLflow store.

    Attributes:
        uri: the address of MLflow's database, which contains both the runs and the registered models.
        artifacts: the absolute path of the folder for artifacts.
    """

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
        """Log a run with everything that is needed to compare the candidate with other models, and register its model.

        If a version with the same sha256 is already registered, return that version and log nothing.

        Args:
            candidate: the candidate after validation.
            training: the training set of the candidate. Only the schema, size and digest of each block are logged.
            training_file: the Parquet file of the training set. The run's datasets name it as their source.
            model_folder: the folder that contains the saved model.
            figures: plots by file name.
            params: the hyper-parameters and other settings of the fit.
            tags: the revisions of code, data and lock file, and the sha256 of the model (`model_sha256`).
            title: the title of the source.
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
        """Show a promotion decision in MLflow.

        This sets the name, description and tags of the run, and the tags, alias and model card of the model version.
        Scoring does not use them; it reads the promotion ledger. Calling the method a second time with the same
        arguments changes nothing.
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
        """Return the registered version with this sha256, or None if there is none.

        Such a version exists if a night crashed before its decision, or if the same model was trained again on
        unchanged data.
        """
        versions = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
        found = [v for v in versions if v.tags.get(_SHA_TAG) == sha256]
        return Registered(name, str(found[0].version), found[0].run_id) if found else None

    def _experiment(self, mlflow: Any, source: str, title: str) -> None:
        """Make the source's experiment the current one, and create it if it does not exist.

        Its description is written each time, because a new release may have changed the text.
        """
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
    """Return all tags of a run.

    The first tags are for searching runs. The `traced` tags follow; they identify the inputs of the run.
    """
    split = "borrower, last months apart" if OUT_OF_TIME in candidate.block_rows else "borrower"
    searched = {"source": candidate.model.source, "split": split, "decision": experiment.UNDECIDED}
    return {**searched, **candidate.tags(), **traced}


def _metrics(candidate: Candidate) -> dict[str, float]:
    """Return all figures of a candidate by name.

    The figures named in `experiment.COMPARED` come first, because MLflow shows figures in the order in which it gets
    them.
    """
    figures = candidate.metrics() | candidate.learning()
    return {name: float(figures[name]) for name in dict.fromkeys((*experiment.COMPARED, *figures))}


def _note(decision: Decision) -> str:
    """Return the description of a run, with a link to the model card.

    The card is not copied into the description, because it would push the metrics off the page.
    """
    return (
        f"**{decision.decision}**: {decision.reason}. The card is at "
        f"[{decision.model_name} version {decision.model_version}]"
        f"(#/models/{decision.model_name}/versions/{decision.model_version}), and among the artifacts as `{CARD_FILE}`."
    )


def _log_curve(mlflow: Any, run_id: str, candidate: Candidate) -> None:
    """Log the learning curve of a candidate in one batch.

    A separate call for each point would take longer than fitting the model.
    """
    fit, now = candidate.model.fit, int(time.time() * 1000)
    points = [
        mlflow.entities.Metric(f"{experiment.CURVE}/{name}", values[i], now, i + 1)
        for name, values in sorted(fit.curve.items())
        for i in experiment.curve_rounds(len(values), fit.best_iteration)
    ]
    mlflow.MlflowClient().log_batch(run_id, metrics=points)


def _datasets(mlflow: Any, candidate: Candidate, training: TrainingSet, file: Path) -> list[Any]:
    """Return one MLflow dataset per block, with its name, schema, size and digest.

    The datasets contain no rows, and no IDs of borrowers or loans.
    """
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
    """Return the MLflow signature of the model, in which all inputs are doubles.

    With narrower types, the model would refuse ordinary data frames.
    """
    names = list(candidate.model.fit.features)
    rows = training.frame.head(100).select(pl.col(names).cast(pl.Float64)).to_pandas()
    outputs = candidate.model.calibrated_pd(training.frame.head(100))
    return mlflow.models.infer_signature(rows, outputs)


def _version(distribution: str) -> str:
    from importlib.metadata import version

    return version(distribution)
