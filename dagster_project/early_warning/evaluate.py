"""Computation of the history of states from monthly figures: one state per indicator, segment and month.

Every night computes the whole history again. Therefore the result does not depend on which nights ran, and a late row
changes the months to which it belongs.

Each month is compared with earlier months, which are called its base. While a warning is open, the base consists of
months before the warning opened. Otherwise, the figures of a lasting deterioration would soon be part of the base, and
the warning would close.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import polars as pl

from dagster_project.early_warning.rules import (
    MEASURES,
    EarlyWarningPolicy,
    IndicatorPolicy,
    Rule,
    Significance,
    State,
    Test,
)
from dagster_project.early_warning.significance import above_expected, higher_mean, holm, more_often
from dagster_project.early_warning.states import OPEN, Status, step

KEYS = ("source", "indicator", "segment_kind", "segment", "month_on")
BOOK = ("book", "all")
# One row per source, indicator, segment and month. `expected`: the total that the model expects; null without a model.
FIGURES = {
    "source": pl.String(),
    "indicator": pl.String(),
    "segment_kind": pl.String(),
    "segment": pl.String(),
    "month_on": pl.Date(),
    "accounts": pl.Int64(),
    "total": pl.Float64(),
    "squares": pl.Float64(),
    "expected": pl.Float64(),
    "amount": pl.Decimal(28, 2),
    "amount_of": pl.Decimal(28, 2),
}
HISTORY = {
    **{name: FIGURES[name] for name in KEYS},
    "accounts": pl.Int64(),
    "value": pl.Float64(),
    "value_by_amount": pl.Float64(),
    "base": pl.Float64(),
    "move": pl.Float64(),
    "p_value": pl.Float64(),
    "p_adjusted": pl.Float64(),
    "signal": pl.String(),
    "state": pl.String(),
    "since": pl.Date(),
    "owner": pl.String(),
    "escalation": pl.String(),
    "note": pl.String(),
}
Series = tuple[str, str, str]  # indicator, segment kind, segment


@dataclass(frozen=True)
class Figure:
    """The figures of a series in one month.

    The fields have the same meaning as the columns of `FIGURES`. `by_amount` is the share weighted by amounts; it is
    None if the source delivers no amounts for it.
    """

    month_on: dt.date
    accounts: int
    total: float
    squares: float
    expected: float | None
    by_amount: float | None

    @property
    def value(self) -> float:
        """Return the share or the mean that the indicator measures."""
        return self.total / self.accounts


@dataclass(frozen=True)
class Judged:
    """The comparison of a month with its base.

    Attributes:
        base: value of the base; for an indicator that is compared with the model, the model's mean PD.
        move: the month's value compared with the base, as a ratio, a difference or a number of standard deviations,
            according to the indicator's `rule`.
        p_value: result of the significance test, before Holm's correction.
    """

    base: float
    move: float
    p_value: float


@dataclass
class _Run:
    """A series, together with its status after the months that have been judged so far.

    `begins` is the first month of the series. `segment_begins` is the first month in which any indicator has figures
    for the segment.
    """

    policy: IndicatorPolicy
    figures: Mapping[dt.date, Figure]
    begins: dt.date
    segment_begins: dt.date
    status: Status = field(default_factory=Status)


def evaluate(figures: pl.DataFrame, policy: EarlyWarningPolicy) -> pl.DataFrame:
    """Compute the history of states from monthly figures.

    Args:
        figures: rows with the columns of `FIGURES`, in any order. Indicators that are not in the policy are ignored.
        policy: the indicators and their thresholds.

    Returns:
        Rows with the columns of `HISTORY`, sorted by `KEYS`. Each series has one row for every month of its source,
        beginning with the first month of the series. The whole book has a series for every indicator of the policy,
        even if there are no figures for it.
    """
    wanted = _without_copies_of_the_book(figures.filter(pl.col("indicator").is_in(list(policy.indicators)))).sort(KEYS)
    rows: list[dict[str, Any]] = []
    for (source,), own in wanted.group_by("source", maintain_order=True):
        rows += [{"source": source, **row} for row in _source(own, policy)]
    return pl.DataFrame(rows, schema=HISTORY).sort(KEYS)


def _without_copies_of_the_book(figures: pl.DataFrame) -> pl.DataFrame:
    """Remove the segment kinds that have only one segment, if this segment is the whole book.

    Such a segment has the same figures as the book, so every warning about the book would be reported twice.
    """
    kind = ["source", "segment_kind"]
    kinds = figures.group_by(kind).agg(pl.col("segment").n_unique().alias("segments"), pl.col("accounts").sum())
    books = kinds.filter(pl.col("segment_kind") == BOOK[0]).select("source", pl.col("accounts").alias("of_book"))
    is_book = (
        (pl.col("segments") == 1) & (pl.col("accounts") == pl.col("of_book")) & (pl.col("segment_kind") != BOOK[0])
    )
    return figures.join(kinds.join(books, on="source").filter(is_book), on=kind, how="anti")


def _source(own: pl.DataFrame, policy: EarlyWarningPolicy) -> list[dict[str, Any]]:
    months = own["month_on"].unique().sort().to_list()
    every = policy.indicators.items()
    segments = {
        (kind, segment): begins
        for kind, segment, begins in own.group_by("segment_kind", "segment").agg(pl.col("month_on").min()).iter_rows()
    }
    runs: dict[Series, _Run] = {(name, *BOOK): _Run(indicator, {}, months[0], months[0]) for name, indicator in every}
    for key, group in groupby(own.iter_rows(named=True), lambda r: (r["indicator"], r["segment_kind"], r["segment"])):
        by_month = {f.month_on: f for f in map(_figure, group) if f.accounts}
        if by_month:
            runs[key] = _Run(policy.indicators[key[0]], by_month, min(by_month), segments[key[1:]])
    rows = []
    for month in months:
        present = {key: run for key, run in sorted(runs.items()) if run.begins <= month}
        judged = {key: _judge(key[0], run, month, policy) for key, run in present.items()}
        tested = [key for key, found in judged.items() if isinstance(found, Judged)]
        adjusted = dict(zip(tested, holm([judged[key].p_value for key in tested]), strict=True))  # type: ignore[union-attr]
        for key, run in present.items():
            rows.append(_row(key, run, month, judged[key], adjusted.get(key), policy))
    return rows


def _judge(indicator: str, run: _Run, month: dt.date, policy: EarlyWarningPolicy) -> Judged | str:
    """Compare a month of a series with its base. If this is not possible, return a note with the reason."""
    now = run.figures.get(month)
    if now is None:
        return "no figures" if run.figures else "this source does not give it"
    if now.accounts < policy.min_accounts:
        return f"{now.accounts:,} accounts; {policy.min_accounts:,} are needed"
    if MEASURES[indicator].test == "expected":
        pd = (now.expected or 0.0) / now.accounts
        return Judged(pd, _multiple(now.value, pd), above_expected(round(now.total), now.accounts, pd))
    base, needed = _base(indicator, run, month, policy), run.policy.base_months
    if len(base) < needed:
        return f"{len(base)} earlier months to compare with; {needed} are needed"
    return _against(base, now, MEASURES[indicator].test, run.policy.rule)


def _against(base: Sequence[Figure], now: Figure, test: Test, rule: Rule) -> Judged:
    accounts, total, squares = (sum(getattr(f, n) for f in base) for n in ("accounts", "total", "squares"))
    if test == "share":
        p_value = more_often(round(now.total), now.accounts, round(total), accounts)
    else:
        p_value = higher_mean((now.accounts, now.total, now.squares), (accounts, total, squares))
    pooled = total / accounts
    if rule == "multiple":
        return Judged(pooled, _multiple(now.value, pooled), p_value)
    if rule == "points":
        return Judged(pooled, now.value - pooled, p_value)
    mean, deviation = _spread([f.value for f in base])
    return Judged(mean, _multiple(now.value - mean, deviation), p_value)


def _base(indicator: str, run: _Run, month: dt.date, policy: EarlyWarningPolicy) -> list[Figure]:
    """Return the months that make up the base of `month`, oldest first. There may be fewer than `base_months`.

    They are the newest usable months that are at least `base_lag_months` months before `month`. During the first
    `hold_base_months` months of an open warning, this distance is counted back from the month in which the warning
    opened.

    A month is usable if it has enough accounts, is not too old for the indicator, and is not one of the first
    `young_months` months of its segment. If `base_lag_months` is above 1 and the month at exactly this distance is not
    usable, the result is empty.
    """
    before, opened = month, run.status.opened_on
    if opened and _months(opened, month) <= policy.hold_base_months:
        before = opened
    oldest = policy.oldest_base(indicator)
    usable = [
        f
        for f in run.figures.values()
        if _months(f.month_on, before) >= run.policy.base_lag_months
        and f.accounts >= policy.min_accounts
        and _months(f.month_on, month) <= oldest
        and _months(run.segment_begins, f.month_on) >= run.policy.young_months
    ]
    base = sorted(usable, key=lambda f: f.month_on)[-run.policy.base_months :]
    # A change over, for example, a quarter cannot be measured from a month further back.
    lag = run.policy.base_lag_months
    is_at_lag = lag == 1 or (base and _months(base[-1].month_on, before) == lag)
    return base if is_at_lag else []


def _row(
    key: Series, run: _Run, month: dt.date, judged: Judged | str, adjusted: float | None, policy: EarlyWarningPolicy
) -> dict[str, Any]:
    now, signal = run.figures.get(month), State.NOT_ENOUGH_HISTORY
    if isinstance(judged, Judged) and adjusted is not None:
        signal = _signal(judged.move, adjusted, run.policy, policy.significance)
    run.status = step(run.status, signal, month, policy.calm_months)
    state = run.status.state
    found = judged if isinstance(judged, Judged) else None
    return {
        **dict(zip(KEYS[1:4], key, strict=True)),
        "month_on": month,
        "accounts": now.accounts if now else 0,
        "value": round(now.value, 9) if now else None,
        "value_by_amount": now.by_amount if now else None,
        "base": round(found.base, 9) if found else None,
        "move": round(found.move, 9) if found and found.move != float("inf") else None,
        "p_value": _digits(found.p_value) if found else None,
        "p_adjusted": None if adjusted is None else _digits(adjusted),
        "signal": signal.value,
        "state": state.value,
        "since": run.status.since,
        "owner": run.policy.owner,
        "escalation": getattr(run.policy.escalation, state.value) if state in OPEN else None,
        "note": judged if isinstance(judged, str) else None,
    }


def _signal(move: float, adjusted: float, thresholds: IndicatorPolicy, significance: Significance) -> State:
    """Return the state that a move gives by itself. A threshold is crossed only if the move is also significant."""
    if move >= thresholds.red and adjusted < significance.red:
        return State.RED
    return State.AMBER if move >= thresholds.amber and adjusted < significance.amber else State.GREEN


def _figure(row: Mapping[str, Any]) -> Figure:
    by_amount = round(float(row["amount"]) / float(row["amount_of"]), 9) if row["amount_of"] else None
    return Figure(row["month_on"], row["accounts"], row["total"], row["squares"] or 0.0, row["expected"], by_amount)


def _multiple(value: float, of: float) -> float:
    """Return `value / of`. If `of` is 0, return infinity if `value` is positive, and 0 otherwise."""
    return value / of if of > 0 else float("inf") if value > 0 else 0.0


def _spread(values: Sequence[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    return mean, (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5


def _months(earlier: dt.date, later: dt.date) -> int:
    return (later.year - earlier.year) * 12 + later.month - earlier.month


def _digits(p: float) -> float:
    """Round a p-value to six significant digits, because library versions may differ in the digits after that."""
    return float(f"{p:.6g}")
