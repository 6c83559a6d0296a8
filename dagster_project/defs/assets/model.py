"""The assets for the training set and the champion of each source."""

import dagster as dg

from dagster_project.defs.asset_keys import champion_asset, mart_asset, training_set_asset
from dagster_project.defs.resources import NIGHT
from dagster_project.home.files import file_sha256, replace_text
from dagster_project.ingestion.lake.files import write_parquet
from dagster_project.night.champion import decide, training_set_of
from dagster_project.night.pipeline import Pipeline
from dagster_project.night.publish import warehouse_is_published
from dagster_project.night.skip_reasons import NO_PD, NOT_DELIVERED, why_untrained
from dagster_project.reporting.markdown import markdown, table
from ml import training_set
from ml.calibrate import NoLineError


class ChampionConfig(dg.Config):
    """The config of the step that decides on a source's champion.

    If `retrain` is true, a candidate is trained even though the source already has a champion. The candidate does not
    replace the champion. The promotion ledger records it as held, or as rejected if it fails the gate.
    """

    retrain: bool = False


def build_model_assets(source: str, owner: str) -> list[dg.AssetsDefinition]:
    """Return the two assets of one source: its training set and its champion."""

    @dg.asset(
        key=dg.AssetKey(training_set_asset(source)),
        deps=[dg.AssetKey(mart_asset("feat_loan_months")), dg.AssetKey(mart_asset("label_loan_months"))],
        group_name="model",
        required_resource_keys={NIGHT},
        kinds={"polars", "parquet"},
        owners=[owner],
        description="One row per observation: its matured label and the features known at its date. All rows of a "
        "borrower are in one block.",
    )
    def _training_set(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        pipeline: Pipeline = context.resources.night
        if not pipeline.has_delivered(source):
            return dg.MaterializeResult(metadata={"skipped": NOT_DELIVERED})
        pipeline.untrained_file(source).unlink(missing_ok=True)
        training = training_set_of(pipeline, source)
        write_parquet(training.frame, pipeline.training_set_file(source), training.metadata())
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": training.frame.height,
                "blocks": dg.MetadataValue.md(table(["block", "usable", "defaults"], training.blocks())),
                "excluded": dg.MetadataValue.md(markdown(training.excluded, "reason", "observations")),
            }
        )

    @dg.asset(
        key=dg.AssetKey(champion_asset(source)),
        deps=[dg.AssetKey(training_set_asset(source))],
        group_name="model",
        required_resource_keys={NIGHT},
        kinds={"xgboost", "mlflow"},
        owners=[owner],
        description="The model that scores: the champion in the promotion ledger, or a first one if there is none yet.",
    )
    def _champion(context: dg.AssetExecutionContext, config: ChampionConfig) -> dg.MaterializeResult[None]:
        pipeline: Pipeline = context.resources.night
        reason = why_untrained(pipeline, source)
        if config.retrain and not reason:
            reason = _why_not_retrained(pipeline, source)
        if reason and (config.retrain or not pipeline.champion(source)):
            context.log.warning(f"{source}: {reason}")
            return dg.MaterializeResult(metadata={"skipped": reason})
        path = pipeline.training_set_file(source)
        training = training_set.read(path)
        try:
            decision = decide(pipeline, source, training, file_sha256(path), retrain=config.retrain)
        except NoLineError as error:
            reason = NO_PD.format(error)
            if not pipeline.champion(source):
                replace_text(pipeline.untrained_file(source), reason)
            context.log.warning(f"{source}: {reason}")
            return dg.MaterializeResult(metadata={"skipped": reason})
        context.log.info(f"{decision.model_name} version {decision.model_version}: {decision.reason}")
        return dg.MaterializeResult(
            metadata={
                "decision": decision.decision,
                "reason": decision.reason,
                "model": f"{decision.model_name} version {decision.model_version}",
                "decided at": decision.decided_at.isoformat(sep=" ", timespec="seconds"),
                "MLflow run": decision.run_id,
                "sha256": decision.sha256,
                **{
                    name: float(decision.evidence[name]) for name in ("auc", "slope", "brier")
                },  # numbers, so that Dagster's UI plots them over time
                "figures": dg.MetadataValue.md(markdown(decision.evidence, "figure", "value")),
            }
        )

    return [_training_set, _champion]


def _why_not_retrained(pipeline: Pipeline, source: str) -> str | None:
    """Return why a source cannot be retrained now, or None if it can.

    The source needs a champion, and the current snapshot must have been published from the warehouse as it is now.
    """
    if pipeline.champion(source) is None:
        return "there is no champion yet; the next night trains the first one"
    if not warehouse_is_published(pipeline):
        return "the warehouse is not the published one, because a night was stopped or rebuilt: run a night first"
    return None
