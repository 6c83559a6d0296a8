"""The asset for the scores of all live accounts. The champion of each source scores the source's accounts."""

import dagster as dg
import polars as pl

from dagster_project.defs.asset_keys import SCORES_ASSET, champion_asset, mart_asset
from dagster_project.defs.resources import NIGHT
from dagster_project.ingestion.lake.files import write_parquet
from dagster_project.night.champion import load_champion
from dagster_project.night.pipeline import MARTS, Pipeline
from dagster_project.night.skip_reasons import why_unscored
from dagster_project.reporting.markdown import bars
from ml.scale import DEFAULT_GRADE
from ml.score import no_scores, score_accounts


class NothingToScoreError(RuntimeError):
    """Raised if no source has delivered yet, so that there is nothing to score or publish."""


def build_scores_asset(pipeline: Pipeline) -> dg.AssetsDefinition:
    """Return the asset for the scores.

    One table contains the scores of all sources, because its readers want a single table. A source without a champion
    is left out.
    """

    @dg.asset(
        key=dg.AssetKey(SCORES_ASSET),
        deps=[dg.AssetKey(k) for k in (mart_asset("feat_loan_months"), *map(champion_asset, pipeline.sources))],
        group_name="scores",
        required_resource_keys={NIGHT},
        kinds={"xgboost", "parquet"},
        owners=[pipeline.policy.owners.risk],
        description="One row per live account: PD, score, grade and proven reasons.",
    )
    def _scores(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        pipeline: Pipeline = context.resources.night
        policy, parts = pipeline.policy, []
        metadata: dict[str, int | float | str] = {}
        active = pipeline.active_sources()
        if not active:
            raise NothingToScoreError(f"no source has delivered: put files into {pipeline.settings.landing}")
        for name in active:
            reason = why_unscored(pipeline, name)
            if reason:
                metadata[f"{name} is not scored"] = reason
                continue
            model, decision = load_champion(pipeline, name)
            with pipeline.read_warehouse() as db:
                query = f"select * from {MARTS}.feat_loan_months where source = ? and is_live"  # noqa: S608
                live = db.sql(query, params=[name]).pl()
            anchor = policy.sources[name].score_anchor
            scored = score_accounts(model, live, policy.scale, anchor, policy.reasons, decision.model_version)
            parts.append(scored.scores)
            metadata[f"{name}: accounts"] = scored.scores.height
            metadata[f"{name}: mean PD"] = round(float(scored.scores["pd"].to_numpy().mean()), 6)
            metadata[f"{name}: reasons dropped by the direction check"] = scored.reasons.direction_failures
        scores = pl.concat(parts) if parts else no_scores(policy.reasons)
        write_parquet(scores, pipeline.scores_file)
        order = [*policy.scale.grade_edges, DEFAULT_GRADE]
        grades = {name: bars(group["grade"], order) for (name,), group in scores.group_by("source")}
        shown = {f"{name}: grades": dg.MetadataValue.md(table) for name, table in sorted(grades.items())}
        return dg.MaterializeResult(metadata={"dagster/row_count": scores.height, **metadata, **shown})

    return _scores
