"""Computation of all metrics of a night. They are flat values named `area.name`, and docs/metrics.md lists them."""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from dagster_project.early_warning.messages import newest, open_series, place
from dagster_project.early_warning.rules import State
from dagster_project.ingestion.lake.receipts import Receipt
from expectations.suite import SuiteResult

Value = float | int | str
_OUTCOMES = ("landed", "accepted", "quarantined", "duplicate")


def ingest_metrics(receipts: Sequence[Receipt]) -> dict[str, Value]:
    """Return the numbers of rows and the amounts in all deliveries in the lake, by outcome, per source and in total.

    Amounts are in minor currency units. The outcomes are landed, accepted, quarantined and duplicate.
    """
    metrics: dict[str, Value] = {}
    for source in sorted({r.source for r in receipts}):
        metrics |= _counts(f"ingest.{source}.", [r for r in receipts if r.source == source])
    return metrics | _counts("ingest.", receipts)


def _counts(prefix: str, receipts: Iterable[Receipt]) -> dict[str, Value]:
    chosen = list(receipts)
    delivered, readmitted = [r for r in chosen if r.readmits is None], [r for r in chosen if r.readmits is not None]
    counts: dict[str, Value] = {f"{prefix}deliveries": len(delivered)}
    counts[f"{prefix}readmitted_rows"] = sum(r.accepted_rows for r in readmitted)
    for unit in ("rows", "minor"):
        for outcome in _OUTCOMES:
            counts[f"{prefix}{outcome}_{unit}"] = sum(getattr(r, f"{outcome}_{unit}") for r in chosen)
    return counts


def model_metrics(source: str, version: str, sha256: str, evidence: Mapping[str, Value]) -> dict[str, Value]:
    """Return the metrics of a source's champion.

    `evidence` contains the figures that the promotion ledger recorded for the champion. The version and the hash of the
    model are added to them.
    """
    named = {**evidence, "version": version, "sha256": sha256}
    return {f"model.{source}.{name}": value for name, value in named.items()}


def score_metrics(scores: pl.DataFrame) -> dict[str, Value]:
    """Return metrics of the scores for each source.

    They are the number of accounts, the number in default, the number without a proven reason, the number in each
    grade, the mean PD and the mean score.
    """
    metrics: dict[str, Value] = {}
    for (source,), group in scores.sort("source", "loan_id").group_by("source", maintain_order=True):
        prefix = f"scores.{source}."
        metrics[f"{prefix}count"] = group.height
        metrics[f"{prefix}in_default"] = int(group["in_default"].sum())
        metrics[f"{prefix}no_reason"] = int((group["reason_1"] == "none").sum())
        metrics[f"{prefix}mean_pd"] = round(float(group["pd"].to_numpy().mean()), 9)
        metrics[f"{prefix}mean_score"] = round(float(group["score"].to_numpy().mean()), 6)
        for grade, count in group["grade"].value_counts().sort("grade").iter_rows():
            metrics[f"{prefix}grade.{grade}"] = count
    return metrics


def portfolio_metrics(tables: Mapping[str, pl.DataFrame], limits: pl.DataFrame) -> dict[str, Value]:
    """Return metrics of the portfolio for each source.

    They cover coverage, stages, expected loss and its movement, loss given default, grades, static pools and limits.

    Args:
        tables: the portfolio tables that are computed from scores, by name.
        limits: source, limit_name and status of those limits that can be computed without scores.
    """
    metrics: dict[str, Value] = {}
    for source, subject, status, reason in tables["port_coverage"].iter_rows():
        metrics[f"portfolio.{source}.coverage.{subject}"] = status if reason is None else f"{status}: {reason}"
    losses = tables["port_expected_losses"]
    for (source, stage), rows in losses.sort("source", "stage").group_by("source", "stage", maintain_order=True):
        prefix = f"portfolio.{source}.stage_{stage}."
        metrics[f"{prefix}loans"] = rows.height
        for name in ("exposure_at_default", "expected_loss", "stressed_loss"):
            metrics[f"{prefix}{name}_minor"] = _minor(rows[name])
    for source, _, _, component, amount, _ in tables["port_loss_movement"].iter_rows():
        name = f"portfolio.{source}.movement.{component}_minor"
        metrics[name] = int(metrics.get(name, 0)) + int(amount * 100)
    given = tables["port_losses_given_default"].sort("source", "currency", "as_of_on")
    for source, _, _, value, _, _, workouts, _ in given.iter_rows():
        metrics[f"portfolio.{source}.loss_given_default"] = value
        metrics[f"portfolio.{source}.workouts"] = workouts
    for row in tables["port_grade_concentration"].iter_rows(named=True):
        prefix = f"portfolio.{row['source']}.grades."
        for name in ("hhi", "status", "bandwidth_up", "bandwidth_down"):
            metrics[f"{prefix}{name}"] = row[name]
    pools = tables["port_static_pools"]
    newest = pools.filter(pl.col("month_on") == pl.col("month_on").max().over("source"))
    for (source, status), rows in newest.sort("source", "status").group_by("source", "status", maintain_order=True):
        metrics[f"portfolio.{source}.static_pools.{status}"] = rows.height
    for (source, status), rows in limits.sort("source", "status").group_by("source", "status", maintain_order=True):
        metrics[f"portfolio.{source}.limits.{status}"] = rows.height
    return metrics


def _minor(amounts: pl.Series) -> int:
    return int((amounts.sum() or 0) * 100)


def warning_metrics(history: pl.DataFrame) -> dict[str, Value]:
    """Return metrics of the early warnings in each source's newest month.

    They are the month, the number of series in each state, and a text that lists the open warnings, red ones first. The
    numbers of amber and red series are also added up for all sources.
    """
    now = newest(history)
    metrics: dict[str, Value] = {"warnings.amber": 0, "warnings.red": 0}
    for (source,), group in now.group_by("source", maintain_order=True):
        own = f"warnings.{source}."
        counts = {state.value: group.filter(pl.col("state") == state.value).height for state in State}
        metrics |= {f"{own}month": f"{group['month_on'][0]:%Y-%m}"}
        metrics |= {f"{own}{state}": count for state, count in counts.items()}
        opened = [f"{r['state']} {r['indicator']} of {place(r)}" for r in open_series(group)]
        metrics[f"{own}open"] = "; ".join(opened)
        metrics["warnings.amber"] += counts[State.AMBER]  # type: ignore[operator]
        metrics["warnings.red"] += counts[State.RED]  # type: ignore[operator]
    return metrics


def check_metrics(suites: Sequence[SuiteResult], dbt_tests: int) -> dict[str, Value]:
    """Return how many checks were declared, evaluated, failed or gave a warning.

    `dbt_tests` is the number of dbt's data tests. They are counted as declared and evaluated checks that did not fail.
    """
    results = [check for suite in suites for check in suite.checks]
    return {
        "checks.declared": sum(s.declared for s in suites) + dbt_tests,
        "checks.evaluated": len(results) + dbt_tests,
        "checks.failed": sum(len(s.blocking_failures) for s in suites),
        "checks.warned": sum(not c.passed and c.severity == "warning" for c in results),
        "checks.suites": len(suites),
        "checks.dbt_tests": dbt_tests,
    }
