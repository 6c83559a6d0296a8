"""The reason codes of each score.

A reason is given only if it passes all three of these tests:

- Its features together raise the account's margin above the population's mean by more than a threshold, and they make
  up a minimum share of all adverse contributions.
- Its sentence is true for the account.
- The margin falls by at least a minimum amount when the reason's features are set to those of a typical good account.
  This is the direction check.

If no reason passes, the account gets the code `none`, and a person must review it. No generic text is given instead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from pydantic import Field

from ml.features import by_name
from ml.model import CreditModel
from ml.section import Section
from ml.train import values_of
from ml.tree_shap import tables_of

NO_REASON = "none"
# How far a contribution from tables may be from XGBoost's own, in logits, and on how many rows that is checked.
_TOLERANCE, _CHECKED_ROWS = 1e-5, 1_000
# How near to a threshold XGBoost's own are used: a reason has up to ten features, and is compared with another one.
_NEAR = 20 * _TOLERANCE


class ReasonPolicy(Section):
    """Conditions under which a reason for a score may be given."""

    min_contribution_logit: float = Field(
        ge=0, description="A reason must raise the margin above the population's mean by more than this, in logits."
    )
    min_share_of_adverse: float = Field(
        ge=0, le=1, description="A reason must make up at least this share of everything that raises the margin."
    )
    min_margin_fall: float = Field(
        ge=0,
        description="Direction check: the margin must fall by at least this, in logits, when the reason's features "
        "are set to those of a typical good account.",
    )
    max_reasons: int = Field(ge=1, le=9, description="Largest number of reasons per account.")
    high_utilisation: float = Field(
        gt=0, description="A balance is called high if it is at least this share of the limit."
    )
    small_pay_ratio: float = Field(
        gt=0, le=1, description="Repayments are called small if they are below this share of the balance."
    )


@dataclass(frozen=True)
class Family:
    """A reason code, its sentence, and the condition under which the sentence is true.

    Attributes:
        code: the reason code, such as RC01.
        text: the sentence that a person reads.
        fact: a function that takes the feature values of a typical good account and the policy. It returns a boolean
            expression over the features, which is true for the accounts for which the sentence is true.
    """

    code: str
    text: str
    fact: Callable[[Mapping[str, float | None], ReasonPolicy], pl.Expr]


# A comparison with null proves nothing: `fill_null(False)` below makes it false, so the reason is not given.
FAMILIES: tuple[Family, ...] = (
    Family("RC01", "Payments are now past due", lambda typical, policy: pl.col("dpd_now") > 0),
    Family("RC02", "Recent late payments", lambda typical, policy: pl.max_horizontal("max_dpd_6m", "max_dpd_12m") > 0),
    Family(
        "RC04",
        "The balance is high against the limit",
        lambda typical, policy: pl.col("util_now") >= policy.high_utilisation,
    ),
    Family(
        "RC05",
        "The balance has been rising",
        lambda typical, policy: (pl.col("util_trend_6m") > 0) & (pl.col("util_now") > pl.col("util_mean_6m")),
    ),
    Family(
        "RC07",
        "The account was opened not long ago",
        lambda typical, policy: pl.col("mob") < (typical["mob"] or 0),
    ),
    Family(
        "RC13",
        "Repayments are small against the balance",
        lambda typical, policy: (
            (pl.max_horizontal("pay_ratio_3m", "pay_ratio_6m") < policy.small_pay_ratio) & (pl.col("bill_amount") > 0)
        ),
    ),
    Family(
        "RC14",
        "The credit limit granted so far is low",
        lambda typical, policy: pl.col("limit_amount") < (typical["limit_amount"] or 0),
    ),
    Family(
        "RC15",
        "Much of the loan is still to be repaid",
        lambda typical, policy: pl.col("bal_to_orig") > (typical["bal_to_orig"] or 0),
    ),
    Family(
        "RC16",
        "The agreed interest rate is high",
        lambda typical, policy: pl.col("annual_rate") > (typical["annual_rate"] or 0),
    ),
)


@dataclass(frozen=True)
class Reasons:
    """The reasons of all accounts, with figures about the tests.

    Attributes:
        codes: one row per account, with the columns `reason_1`, `reason_2` and so on, strongest reason first.
            `reason_1` is `none` if no reason was proven. The remaining columns are null if there are fewer reasons.
        candidates: the number of reasons that passed the first two tests.
        direction_failures: the number of these reasons that failed the third test, the direction check.
        additivity_error: the largest absolute difference between an account's margin and the sum of its contributions,
            in logits. It is 0 if there are no accounts.
    """

    codes: pl.DataFrame
    candidates: int
    direction_failures: int
    additivity_error: float


class ContributionsError(RuntimeError):
    """The contributions from the lookup tables differ from XGBoost's own, so no reason can be trusted."""


def explain(
    model: CreditModel, frame: pl.DataFrame, margin: np.ndarray, policy: ReasonPolicy, *, from_tables: bool = False
) -> Reasons:
    """Find the reasons for the score of each row.

    Args:
        model: the model that scores the rows.
        frame: one row per account, with all features.
        margin: the model's margin for each row, in logits.
        policy: the thresholds of the tests.
        from_tables: whether to compute the contributions with the lookup tables of `ml.tree_shap`, which is faster.
            XGBoost's own contributions are still used if the trees are too deep for tables, and for each row whose
            values are so close to a threshold that the small difference could matter. The reasons are therefore the
            same.

    Raises:
        ContributionsError: on a sample of the rows, the contributions from the tables differ from XGBoost's own.
    """
    features = by_name(model.fit.features)
    families = [f for f in FAMILIES if any(feature.family == f.code for feature in features)]
    members = [[i for i, feature in enumerate(features) if feature.family == f.code] for f in families]
    mean = np.array([model.mean_contribution[f.name] for f in features])

    def adverse_in(contributions: np.ndarray) -> np.ndarray:
        above_mean = contributions[:, :-1] - mean
        return np.column_stack([above_mean[:, columns].sum(axis=1) for columns in members])

    tabulated = _from_tables(model, frame) if from_tables else None
    contributions = model.fit.contributions(frame) if tabulated is None else tabulated
    adverse = adverse_in(contributions)
    if tabulated is not None:
        near = np.flatnonzero(_is_near_a_threshold(adverse, policy))
        if len(near):
            contributions[near] = model.fit.contributions(frame[near])
            adverse[near] = adverse_in(contributions[near])
    additivity_error = float(np.abs(contributions.sum(axis=1) - margin).max()) if len(frame) else 0.0
    total = adverse.clip(min=0).sum(axis=1, keepdims=True)
    facts = frame.select(
        f.fact(model.reference, policy).fill_null(value=False).alias(f.code) for f in families
    ).to_numpy()
    candidate = facts & (adverse > policy.min_contribution_logit) & (adverse >= policy.min_share_of_adverse * total)

    proven = candidate.copy()
    for k, columns in enumerate(members):
        rows = np.flatnonzero(candidate[:, k])
        if len(rows):
            names = [features[i].name for i in columns]
            typical = frame[rows].with_columns(pl.lit(model.reference[n], dtype=pl.Float64).alias(n) for n in names)
            proven[rows, k] = margin[rows] - model.fit.margin(typical) >= policy.min_margin_fall

    return Reasons(
        codes=_strongest(np.where(proven, adverse, -np.inf), [f.code for f in families], policy.max_reasons),
        candidates=int(candidate.sum()),
        direction_failures=int((candidate & ~proven).sum()),
        additivity_error=additivity_error,
    )


def _from_tables(model: CreditModel, frame: pl.DataFrame) -> np.ndarray | None:
    """Return the contributions of all rows from the lookup tables, or None if the trees are too deep for tables.

    The shape is (rows, features + 1), and the last column is the bias. At least 1,000 evenly spaced rows are compared
    with XGBoost's own contributions. If there are fewer rows, all of them are compared.

    Raises:
        ContributionsError: a contribution differs by more than `_TOLERANCE` logits.
    """
    tables = tables_of(model.fit.booster, model.fit.best_iteration + 1)
    if tables is None:
        return None
    found = tables.contributions(values_of(frame, model.fit.features))
    every = max(1, frame.height // _CHECKED_ROWS)
    own = model.fit.contributions(frame.gather_every(every))
    worst = float(np.abs(found[::every] - own).max()) if len(own) else 0.0
    if worst > _TOLERANCE:
        raise ContributionsError(
            f"the contributions of {model.source}'s model differ by {worst:.1e} logits from XGBoost's own, more than "
            f"{_TOLERANCE:.0e}: XGBoost computes or saves its trees in another way than ml/tree_shap.py assumes"
        )
    return found


def _is_near_a_threshold(adverse: np.ndarray, policy: ReasonPolicy) -> np.ndarray:
    """Return, for each row, whether tiny changes of its contributions could change its reasons or their order.

    `adverse` contains the adverse contributions in logits, with one column per reason.
    """
    total = adverse.clip(min=0).sum(axis=1, keepdims=True)
    to_minimum = np.abs(adverse - policy.min_contribution_logit)
    to_share = np.abs(adverse - policy.min_share_of_adverse * total)
    in_order = np.sort(adverse.clip(min=0), axis=1)
    gap = np.where(in_order[:, 1:] > 0, np.diff(in_order, axis=1), np.inf)
    nearest = np.minimum(to_minimum, to_share).min(axis=1)
    return np.asarray(np.minimum(nearest, gap.min(axis=1, initial=np.inf)) < _NEAR)


def _strongest(strength: np.ndarray, codes: list[str], count: int) -> pl.DataFrame:
    """Return the codes with the largest strengths of each row, strongest first.

    The result has `count` columns, `reason_1` to `reason_<count>`. Only codes with a finite strength are used. If a row
    has fewer than `count` such codes, the remaining columns are null. If a row has none, `reason_1` is `none`.
    """
    order = np.argsort(-strength, axis=1, kind="stable")
    named = np.array(codes, dtype=object)
    columns: dict[str, pl.Series] = {}
    for place in range(count):
        name = f"reason_{place + 1}"
        if place >= len(codes):
            columns[name] = pl.Series(name, [None] * len(strength), dtype=pl.String)
            continue
        pick = order[:, place]
        stated = np.isfinite(np.take_along_axis(strength, pick[:, None], axis=1)[:, 0])
        chosen = np.where(stated, named[pick], np.array(NO_REASON if place == 0 else None, dtype=object))
        columns[name] = pl.Series(name, chosen.tolist(), dtype=pl.String)
    return pl.DataFrame(columns)
