"""Training set and champion of each source."""

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
    """`retrain`: train a candidate even where a champion stands; it waits in the ledger as held."""

    retrain: bool = False


def build_model_assets(source: str, owner: str) -> list[dg.AssetsDefinition]:
    """The two assets of one source: what a model may learn from, and the model that scores."""

    @dg.asset(
        key=dg.AssetKey(training_set_asset(source)),
        deps=[dg.AssetKey(mart_asset("feat_loan_months")), dg.AssetKey(mart_asset("label_loan_months"))],
        group_name="model",
        required_resource_keys={NIGHT},
        kinds={"polars", "parquet"},
        owners=[owner],
        description="Matured labels joined to the features known at the observation; each borrower in one block.",
    )
    def _training_set(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        pipeline: Pipeline = context.resources.night
        if not pipeline.has_delivered(source):
            return dg.MaterializeResult(metadata={"nothing done": NOT_DELIVERED})
        pipeline.untrained_file(source).unlink(missing_ok=True)
        made = training_set_of(pipeline, source)
        write_parquet(made.frame, pipeline.training_set_file(source), made.metadata())
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": made.frame.height,
                "blocks": dg.MetadataValue.md(table(["block", "usable", "defaults"], made.blocks())),
                "excluded": dg.MetadataValue.md(markdown(made.excluded, "reason", "observations")),
            }
        )

    @dg.asset(
        key=dg.AssetKey(champion_asset(source)),
        deps=[dg.AssetKey(training_set_asset(source))],
        group_name="model",
        required_resource_keys={NIGHT},
        kinds={"xgboost", "mlflow"},
        owners=[owner],
        description="The model that scores: the ledger's champion, or, where there is none yet, a first one.",
    )
    def _champion(context: dg.AssetExecutionContext, config: ChampionConfig) -> dg.MaterializeResult[None]:
        pipeline: Pipeline = context.resources.night
        reason = why_untrained(pipeline, source)
        if config.retrain and not reason:
            reason = _why_not_retrained(pipeline, source)
        if reason and (config.retrain or not pipeline.champion(source)):
            context.log.warning(f"{source}: {reason}")
            return dg.MaterializeResult(metadata={"nothing done": reason})
        path = pipeline.training_set_file(source)
        training = training_set.read(path)
        try:
            decision = decide(pipeline, source, training, file_sha256(path), retrain=config.retrain)
        except NoLineError as error:
            reason = NO_PD.format(error)
            if not pipeline.champion(source):
                replace_text(pipeline.untrained_file(source), reason)
            context.log.warning(f"{source}: {reason}")
            return dg.MaterializeResult(metadata={"nothing done": reason})
        context.log.info(f"{decision.model_name} version {decision.model_version}: {decision.reason}")
        return dg.MaterializeResult(
            metadata={
                "decision": decision.decision,
                "reason": decision.reason,
                "model": f"{decision.model_name} version {decision.model_version}",
                "decided at": decision.decided_at.isoformat(sep=" ", timespec="seconds"),
                "MLflow run": decision.run_id,
                "sha256": decision.sha256,
                **{name: float(decision.evidence[name]) for name in ("auc", "slope", "brier")},  # drawn over time
                "figures": dg.MetadataValue.md(markdown(decision.evidence, "figure", "value")),
            }
        )

    return [_training_set, _champion]


def _why_not_retrained(pipeline: Pipeline, source: str) -> str | None:
    """Learning is only done from what was audited, and a first champion is made by a night and no other run."""
    if pipeline.champion(source) is None:
        return "no champion stands; the night trains the first one"
    if not warehouse_is_published(pipeline):
        return "the warehouse does not hold what is published: a night was stopped or rebuilt; run a night first"
    return None
