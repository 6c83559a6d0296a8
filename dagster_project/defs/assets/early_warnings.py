"""The assets for early warnings: their table, with one check per indicator, and the messages sent after publication."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from dagster_project.defs.asset_keys import (
    EARLY_WARNINGS_ASSET,
    NOTIFICATIONS_ASSET,
    SNAPSHOT_ASSET,
    champion_asset,
    mart_asset,
)
from dagster_project.defs.resources import NIGHT
from dagster_project.early_warning.evaluate import evaluate
from dagster_project.early_warning.messages import figures, newest, open_series, place
from dagster_project.early_warning.rules import MEASURES, EarlyWarningPolicy, IndicatorPolicy, State
from dagster_project.ingestion.lake.files import write_parquet
from dagster_project.night.early_warning_figures import early_warning_figures
from dagster_project.night.notify import send_changes
from dagster_project.night.pipeline import Pipeline
from dagster_project.reporting.markdown import table

_SHOWN = 50


def build_early_warning_assets(pipeline: Pipeline) -> list[dg.AssetsDefinition]:
    """Return the two assets for early warnings: the table with one check per indicator, and the notifications."""
    policy, owner = pipeline.policy.early_warning, pipeline.policy.owners.risk
    marts = ("monitor_early_warning_figures", "feat_loan_months", "port_month_exposures")
    needs = [*map(mart_asset, marts), *map(champion_asset, pipeline.sources)]

    @dg.asset(
        key=dg.AssetKey(EARLY_WARNINGS_ASSET),
        deps=[dg.AssetKey(key) for key in needs],
        group_name="early_warning",
        required_resource_keys={NIGHT},
        kinds={"polars", "parquet"},
        owners=[owner],
        check_specs=[_spec(name, indicator) for name, indicator in policy.indicators.items()],
        description="One row per indicator, segment and month: green, amber or red, or why the month cannot be judged. "
        "A move crosses a threshold only if it is also statistically significant.",
    )
    def _early_warnings(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        pipeline: Pipeline = context.resources.night
        history = evaluate(early_warning_figures(pipeline), pipeline.policy.early_warning)
        write_parquet(history, pipeline.early_warnings_file)
        checks = [_check(name, history, pipeline.policy.early_warning) for name in policy.indicators]
        opened = list(open_series(history))
        for row in opened[:_SHOWN]:
            context.log.warning(f"{row['state']}: {row['source']}, {row['indicator']}, {place(row)}")
        yield dg.MaterializeResult(
            metadata={
                "dagster/row_count": history.height,
                "states by source": dg.MetadataValue.md(_states_by_source(history)),
                "open warnings": dg.MetadataValue.md(_open(opened, pipeline.policy.early_warning)),
            },
            check_results=checks,
        )

    @dg.asset(
        key=dg.AssetKey(NOTIFICATIONS_ASSET),
        deps=[dg.AssetKey(SNAPSHOT_ASSET)],
        group_name="early_warning",
        required_resource_keys={NIGHT},
        kinds={"sqlite"},
        owners=[owner],
        description="One message per change of state, sent over every channel in use. Messages that a channel does not "
        "accept are sent again the next night.",
    )
    def _notifications(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        pipeline: Pipeline = context.resources.night
        if pipeline.known_as_of:
            return dg.MaterializeResult(metadata={"skipped": "a rebuilt night sends no notifications"})
        new, sent = send_changes(pipeline)
        for name, why in sent.failed.items():
            context.log.warning(f"{name}: {why}; the next night sends the messages again")
        texts = [[m.body["state"], m.body["text"]] for m in new[:_SHOWN]]
        return dg.MaterializeResult(
            metadata={
                "new messages": len(new),
                "message texts": dg.MetadataValue.md(table(["state", "message"], texts)),
                **{f"sent by {name}": count for name, count in sent.taken.items()},
                **{f"refused by {name}": why for name, why in sent.failed.items()},
            }
        )

    return [_early_warnings, _notifications]


def _spec(name: str, indicator: IndicatorPolicy) -> dg.AssetCheckSpec:
    severity = indicator.severity
    return dg.AssetCheckSpec(
        name,
        asset=dg.AssetKey(EARLY_WARNINGS_ASSET),
        blocking=False,
        description=f"{MEASURES[name].what[0].upper()}{MEASURES[name].what[1:]}. {_rule(indicator)} Owner: "
        f"{indicator.owner}. Amber ({severity.amber}): {indicator.escalation.amber} Red ({severity.red}): "
        f"{indicator.escalation.red}",
    )


def _rule(indicator: IndicatorPolicy) -> str:
    """Return a sentence with an indicator's amber and red thresholds and the base that they refer to.

    The base is a number of earlier months or, if the indicator has no base months, the value that the model expected.
    """
    before = f"the {indicator.base_months} months before" if indicator.base_months else "what the model expected"
    if indicator.base_lag_months > 1:
        months = "month" if indicator.base_months == 1 else f"{indicator.base_months} months"
        before = f"the {months} that ended {indicator.base_lag_months} months before"
    if indicator.rule == "points":
        return f"Amber {100 * indicator.amber:g} and red {100 * indicator.red:g} percentage points above {before}."
    unit = "times" if indicator.rule == "multiple" else "standard deviations above the mean of"
    return f"Amber from {indicator.amber:g} and red from {indicator.red:g} {unit} {before}."


def _check(name: str, history: pl.DataFrame, policy: EarlyWarningPolicy) -> dg.AssetCheckResult:
    own = history.filter(pl.col("indicator") == name)
    now, opened = newest(history).filter(pl.col("indicator") == name), list(open_series(own))
    counted = dict(now["state"].value_counts().iter_rows())
    is_red = any(row["state"] == State.RED for row in opened)
    by_state = policy.indicators[name].severity
    metadata: dict[str, Any] = {state.value.replace("_", " "): counted.get(state.value, 0) for state in State}
    if opened:
        metadata["what to do"] = opened[0]["escalation"]
        metadata["segments"] = dg.MetadataValue.md(_open(opened, policy))
    if (notes := now.filter(pl.col("note").is_not_null()).select("source", "segment", "note")).height:
        metadata["not judged"] = dg.MetadataValue.md(table(["source", "segment", "why"], notes.rows()[:_SHOWN]))
    return dg.AssetCheckResult(
        passed=not opened,
        check_name=name,
        asset_key=dg.AssetKey(EARLY_WARNINGS_ASSET),
        severity=dg.AssetCheckSeverity[by_state.red if is_red else by_state.amber],
        description=_summary(opened, counted, policy),
        metadata=metadata,
    )


def _summary(opened: Sequence[Mapping[str, Any]], counted: Mapping[str, int], policy: EarlyWarningPolicy) -> str:
    """Return a sentence that summarises the result of an indicator's check.

    If warnings are open, the sentence describes the first one and gives the number of further warnings. Otherwise it
    gives the number of green segments, or explains that the history is too short to judge any segment.

    Args:
        opened: the rows of the indicator's open warnings.
        counted: the number of the indicator's series in each state, in the newest month.
        policy: the policy of the early warnings.
    """
    if not opened:
        green = counted.get(State.GREEN, 0)
        return f"{green} segments are green." if green else "Nothing can be judged yet: not enough history."
    worst, more = opened[0], len(opened) - 1
    rest = f", and {more} more" if more else ""
    return f"{worst['state'].upper()}: {place(worst)} of {worst['source']}{rest}. {figures(worst, policy)}."


def _open(opened: Sequence[Mapping[str, Any]], policy: EarlyWarningPolicy) -> str:
    head = ["state", "source", "segment", "indicator", "since", "figures", "owner", "what to do"]
    rows = [
        [
            row["state"],
            row["source"],
            place(row),
            MEASURES[row["indicator"]].title,
            f"{row['since']:%Y-%m}",
            figures(row, policy),
            row["owner"],
            row["escalation"],
        ]
        for row in opened[:_SHOWN]
    ]
    return table(head, rows) if rows else "no open warnings"


def _states_by_source(history: pl.DataFrame) -> str:
    """Return a Markdown table with the number of series in each state, with one row per source.

    The states are those in the newest month of each source. If there are no figures, a short text is returned instead.
    """
    counts = newest(history).group_by("source", "month_on", "state").len()
    by_source = counts.pivot("state", index=["source", "month_on"], values="len").fill_null(0).sort("source")
    states = [state.value for state in State if state.value in by_source.columns]
    rows = [[r["source"], f"{r['month_on']:%Y-%m}", *(r[s] for s in states)] for r in by_source.iter_rows(named=True)]
    return table(["source", "month", *(s.replace("_", " ") for s in states)], rows) if rows else "no figures yet"
