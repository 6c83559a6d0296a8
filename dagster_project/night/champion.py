"""Functions that train a source's model, decide whether it becomes champion, and load the champion for scoring.

A decision is written to the promotion ledger, to the audit chain and to MLflow. This module does not use Dagster.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from dagster_project.home.files import file_sha256
from dagster_project.home.settings import PROJECT_ROOT
from dagster_project.night import audit_entries
from dagster_project.night.pipeline import MARTS, Pipeline
from dagster_project.snapshots.fingerprint import git_revision, values_fingerprint
from dagster_project.warehouse.runner import project_fingerprint
from ml.candidate import Candidate, train_candidate
from ml.card import Origin, card
from ml.experiment import run_name
from ml.model import CreditModel, load_model, model_sha256
from ml.plots import pictures
from ml.promote import Decision, bootstrap_failures
from ml.scale import raw_score
from ml.train import TARGET
from ml.training_set import TrainingSet, build

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class NoChampionError(RuntimeError):
    """Raised if a source has no champion and gets none in this run, so that it cannot be scored."""


def training_set_of(pipeline: Pipeline, source: str) -> TrainingSet:
    """Build the training set of a source from the labels and features in the warehouse."""
    labels, features = f"{MARTS}.label_loan_months", f"{MARTS}.feat_loan_months"
    with pipeline.read_warehouse() as db:
        own = pipeline.policy.sources[source]
        return build(db, labels, features, source, pipeline.policy.split, own.observations_per_year)


def decide(
    pipeline: Pipeline, source: str, training: TrainingSet, training_sha256: str, *, retrain: bool = False
) -> Decision:
    """Return the decision on the current champion, or train a candidate and return the decision on the candidate.

    A candidate is trained if the source has no champion, or if `retrain` is true. The first candidate becomes champion
    if it passes the bootstrap gate. Later candidates never replace the champion, because the comparison of a challenger
    with the champion is not built yet. They are held if they pass the gate, and rejected otherwise.

    A decision on a candidate is recorded in MLflow, in the promotion ledger and in the audit chain. MLflow is not
    updated if the candidate's files are identical to those of the champion.

    Args:
        pipeline: the night's pipeline.
        source: the name of the source.
        training: the training set of the source.
        training_sha256: the hash of the training set's file.
        retrain: whether to train a candidate even if the source has a champion.

    Raises:
        NoChampionError: the source has no champion, and its first candidate failed the gate; the ledger gives the
            reason. Also raised if a candidate would have to be trained in a rebuilt night, which trains no models.
        NoLineError: the candidate cannot be calibrated.
    """
    champion = pipeline.champion(source)
    if champion and not retrain:
        return champion
    if pipeline.known_as_of:
        raise NoChampionError(f"{source} had no champion as of {pipeline.known_as_of}; a rebuilt night trains none")
    policy = pipeline.policy
    candidate = train_candidate(source, training, policy.training, policy.reasons)
    folder = _save(pipeline, candidate.model)
    registered = pipeline.registry.register(
        candidate,
        training,
        pipeline.training_set_file(source),
        folder,
        _pictures(pipeline, candidate, training),
        params={**policy.training.model_dump(), "split_salt": policy.split.salt, "policy_version": policy.version},
        tags=_tags(pipeline, training_sha256, folder.name),
        title=pipeline.sources[source].contract.title,
    )
    additivity_error = candidate.reasons.additivity_error
    failures = bootstrap_failures(policy.bootstrap_gate, candidate.performance, additivity_error)
    verdict, reason = ("rejected", "; ".join(failures)) if failures else ("promoted", "bootstrap")
    is_champion_again = champion is not None and champion.sha256 == folder.name
    if champion and not failures:
        verdict, reason = "held", f"version {champion.model_version} is champion; challengers are not compared yet"
    if is_champion_again and not failures:
        reason = f"it is version {registered.version} again, byte for byte, which is champion"
    decision = Decision(
        source=source,
        decided_at=pipeline.now(),
        decision=verdict,
        reason=reason,
        model_name=registered.name,
        model_version=registered.version,
        run_id=registered.run_id,
        sha256=folder.name,
        evidence={**candidate.metrics(), **candidate.tags()},
    )
    if not is_champion_again:  # MLflow already has the champion's run and version, and its page must not change
        # Write MLflow before the ledger: a crash in between repeats this step, so no champion lacks alias or card.
        _record_in_mlflow(pipeline, candidate, training, decision, training_sha256)
    audit_entries.record_decision(pipeline, pipeline.ledger.append(decision), decision)
    if failures and not champion:
        raise NoChampionError(
            f"{source} has no champion, and its first candidate ({registered.name} version {registered.version}) "
            f"was rejected: {decision.reason}. Nothing was scored; see its run in MLflow."
        )
    return decision


def load_champion(pipeline: Pipeline, source: str) -> tuple[CreditModel, Decision]:
    """Return the champion's model and the decision that made it champion.

    Before the model is loaded, the hash of its files is compared with the hash in the promotion ledger.

    Raises:
        NoChampionError: the ledger contains no champion for this source.
        ModelIntegrityError: a file of the model is missing, or the files do not match the hash.
    """
    decision = pipeline.champion(source)
    if decision is None:
        raise NoChampionError(f"{source} has no champion; run the night, which trains the first one")
    return load_model(pipeline.model_folder(decision.sha256), decision.sha256), decision


def _save(pipeline: Pipeline, model: CreditModel) -> Path:
    """Save a model in a folder that is named after the hash of its files, and return the folder.

    If this folder already exists, it is left as it is, because it contains the same model.
    """
    building = pipeline.model_folder(".building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    model.save(building)
    final = pipeline.model_folder(model_sha256(building))
    if final.exists():
        shutil.rmtree(building)
    else:
        building.replace(final)
    return final


def _record_in_mlflow(
    pipeline: Pipeline, candidate: Candidate, training: TrainingSet, decision: Decision, training_sha256: str
) -> None:
    """Write the decision and the candidate's model card to MLflow."""
    policy, contract = pipeline.policy, pipeline.sources[decision.source].contract
    receipts = [r for r in pipeline.receipts(decision.source) if r.files]
    origin = Origin(
        title=contract.title,
        contract_version=contract.version,
        deliveries=len(receipts),
        lines=sum(r.accepted_rows for r in receipts),
        horizon_months=policy.sources[decision.source].label_horizon_months,
        split=policy.split,
        policy_version=policy.version,
        git_revision=git_revision(PROJECT_ROOT),
        training_set_sha256=training_sha256,
    )
    name = run_name(candidate, training, f"v{decision.model_version} {decision.decision}")
    pipeline.registry.decided(decision, name, card(candidate, training, origin, decision))


def _pictures(pipeline: Pipeline, candidate: Candidate, training: TrainingSet) -> "dict[str, Figure]":
    oos = training.block("oos")
    pd = candidate.model.calibrated_pd(oos)
    anchor = pipeline.policy.sources[candidate.model.source].score_anchor
    points = pl.DataFrame({"pd": pd}).select(raw_score(pl.col("pd"), pipeline.policy.scale, anchor))
    return pictures(candidate.model.fit, oos[TARGET].to_numpy().astype(np.float64), pd, points.to_series().to_numpy())


def _tags(pipeline: Pipeline, training_sha256: str, sha256: str) -> dict[str, str]:
    """Return the MLflow tags that show from which code, data, dbt project and locked dependencies a model was made.

    `sha256` is the hash of the model's files, and `training_sha256` the hash of the training set's file.
    """
    deliveries = sorted(r.delivery_id for r in pipeline.receipts() if r.files)
    return {
        "git_revision": git_revision(PROJECT_ROOT),
        "deliveries": ",".join(deliveries),
        "snapshot": values_fingerprint({"deliveries": deliveries}),
        "training_set_sha256": training_sha256,
        "model_sha256": sha256,
        "manifest_sha256": project_fingerprint(pipeline.settings, pipeline.policy),
        "lock_sha256": file_sha256(PROJECT_ROOT / "requirements.lock"),
    }
