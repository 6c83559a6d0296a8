"""Measure how good a model is: discrimination, calibration, cross-validation, ablation. All functions are pure.

Formulas: AUC is the Mann-Whitney statistic; ties count one half. Its standard error is DeLong's (1988), which is valid
if every borrower has one row. KS is the largest distance between the two cumulative distributions. Calibration is the
logistic line of the outcome on logit(PD); ideally its slope is 1 and its intercept 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ml.calibrate import Floats, fit_platt, logistic_line
from ml.features import Block, Feature
from ml.train import TARGET, TrainingParams, fit, fit_rounds, side_by_side

if TYPE_CHECKING:
    from sklearn.model_selection import StratifiedKFold

BOOTSTRAPS, BOOTSTRAP_SEED = 2000, 42
# Above this number of rows a formula gives the interval: 2,000 samples would take minutes and give the same interval.
BOOTSTRAP_ROWS = 50_000


def auc(outcome: Floats, risk: Floats) -> float:
    """The area under the ROC curve. A higher `risk` means a more likely default; only the order of the values matters.

    >>> auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    placements = _placements(outcome, risk)
    return float(placements[0].mean())


def auc_standard_error(outcome: Floats, risk: Floats) -> float:
    """DeLong's standard error of the AUC. It assumes one row per borrower."""
    of_bad, of_good = _placements(outcome, risk)
    return float(np.sqrt(of_bad.var(ddof=1) / len(of_bad) + of_good.var(ddof=1) / len(of_good)))


def _placements(outcome: Floats, risk: Floats) -> tuple[Floats, Floats]:
    """Per default, the share of non-defaults ranked below it; per non-default, the share of defaults ranked above."""
    from scipy.stats import rankdata

    bad, good = risk[outcome == 1], risk[outcome == 0]
    if not len(bad) or not len(good):
        raise ValueError("AUC needs defaults and non-defaults")
    ranks = rankdata(np.concatenate([bad, good]))
    within_bad, within_good = rankdata(bad), rankdata(good)
    of_bad = (ranks[: len(bad)] - within_bad) / len(good)
    of_good = 1 - (ranks[len(bad) :] - within_good) / len(bad)
    return of_bad, of_good


def ks(outcome: Floats, risk: Floats) -> float:
    """The Kolmogorov-Smirnov distance between the risk of defaults and of non-defaults, from 0 to 1."""
    grid = np.unique(risk)
    bad, good = np.sort(risk[outcome == 1]), np.sort(risk[outcome == 0])
    gap = np.searchsorted(bad, grid, side="right") / len(bad) - np.searchsorted(good, grid, side="right") / len(good)
    return float(np.abs(gap).max())


def clustered_standard_error(outcome: Floats, risk: Floats, clusters: np.ndarray) -> float:
    """The standard error of the AUC if rows of one cluster are correlated. `clusters`: the cluster of each row.

    It sums DeLong's placements by cluster. Instead of treating defaults and non-defaults as independent, it adds the
    covariance of a cluster's two sums: Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 53
    (1997).
    """
    of_bad, of_good = _placements(outcome, risk)
    _, owner = np.unique(clusters, return_inverse=True)
    count, is_bad = int(owner.max()) + 1, outcome == 1
    area = of_bad.mean()
    bad = np.bincount(owner[is_bad], of_bad - area, minlength=count) / len(of_bad)
    good = np.bincount(owner[~is_bad], of_good - area, minlength=count) / len(of_good)
    with_bad = len(np.unique(owner[is_bad]))
    with_good = len(np.unique(owner[~is_bad]))
    variance = (
        with_bad / (with_bad - 1) * (bad**2).sum()
        + with_good / (with_good - 1) * (good**2).sum()
        + 2 * count / (count - 1) * (bad * good).sum()
    )
    return float(np.sqrt(variance))


def auc_interval(outcome: Floats, risk: Floats, clusters: np.ndarray | None = None) -> tuple[float, float]:
    """The 95 % interval of the AUC, as (low, high). `clusters`: the borrower of each row; None if none repeats.

    If each borrower has one row, the interval comes from DeLong's standard error. With repeated borrowers that error
    is far too small. Then borrowers are drawn with replacement (bootstrap); above BOOTSTRAP_ROWS rows,
    `clustered_standard_error` is used.
    """
    if clusters is None or len(np.unique(clusters)) == len(clusters):
        error = auc_standard_error(outcome, risk)
    elif len(outcome) > BOOTSTRAP_ROWS:
        error = clustered_standard_error(outcome, risk, clusters)
    else:
        low, high = np.quantile(_bootstrap(outcome, risk, clusters), [0.025, 0.975])
        return float(low), float(high)
    area = auc(outcome, risk)
    return area - 1.959964 * error, area + 1.959964 * error


def _bootstrap(outcome: Floats, risk: Floats, clusters: np.ndarray) -> Floats:
    """The AUCs of `BOOTSTRAPS` samples of borrowers, drawn with replacement.

    A row counts once for each time that its borrower was drawn. Samples with only one class of outcome are left out.
    """
    random = np.random.default_rng(BOOTSTRAP_SEED)
    _, owner = np.unique(clusters, return_inverse=True)
    _, level = np.unique(risk, return_inverse=True)
    borrowers, levels = int(owner.max()) + 1, int(level.max()) + 1
    areas = []
    for _ in range(BOOTSTRAPS):
        weight = np.bincount(random.integers(0, borrowers, borrowers), minlength=borrowers)[owner]
        bad = np.bincount(level, weight * outcome, minlength=levels)
        good = np.bincount(level, weight * (1 - outcome), minlength=levels)
        if bad.sum() and good.sum():
            below = np.cumsum(good) - good / 2
            areas.append(float((bad * below).sum() / bad.sum() / good.sum()))
    return np.array(areas)


@dataclass(frozen=True)
class Performance:
    """The figures of one model on one set of rows. Rates and probabilities are fractions."""

    rows: int
    defaults: int
    auc: float
    auc_low: float
    auc_high: float
    gini: float
    ks: float
    brier: float
    slope: float
    intercept: float
    mean_pd: float
    default_rate: float


def measure(outcome: Floats, pd: Floats, risk: Floats, clusters: np.ndarray | None = None) -> Performance:
    """Compute all figures. `pd`: calibrated PDs; `risk`: raw margins, which rank the rows.

    PDs are rounded, so they could tie where margins differ.
    """
    area = auc(outcome, risk)
    low, high = auc_interval(outcome, risk, clusters)
    intercept, slope = logistic_line(np.log(pd / (1 - pd)), outcome)
    return Performance(
        rows=len(outcome),
        defaults=int(outcome.sum()),
        auc=_round(area),
        auc_low=_round(low),
        auc_high=_round(high),
        gini=_round(2 * area - 1),
        ks=_round(ks(outcome, risk)),
        brier=_round(float(np.mean((pd - outcome) ** 2))),
        slope=_round(slope),
        intercept=_round(intercept),
        mean_pd=_round(float(pd.mean())),
        default_rate=_round(float(outcome.mean())),
    )


@dataclass(frozen=True)
class CrossValidation:
    """The result of a cross-validation.

    `auc`, `auc_sd`: mean and standard deviation of the AUC over the folds. `auc_performing`: the mean without accounts
    already in default. `fold`: the fold of each row. `margin`: the margin of each row in logits, from the model that
    was fitted without it.
    """

    auc: float
    auc_sd: float
    auc_performing: float
    fold: np.ndarray
    margin: Floats

    def pd(self, outcome: Floats) -> Floats:
        """The calibrated out-of-fold PD of each row. A fold's Platt line is fitted on margins of the other folds."""
        result = np.empty_like(self.margin)
        for k in np.unique(self.fold):
            held = self.fold == k
            result[held] = fit_platt(self.margin[~held], outcome[~held]).pd(self.margin[held])
        return result


def cross_validate(frame: pl.DataFrame, features: tuple[Feature, ...], params: TrainingParams) -> CrossValidation:
    """Cross-validate on all rows of `frame`, which has the features, `label`, `in_default` and `borrower_id`.

    The folds are stratified by label. Each model is measured on one fold and fitted on the others, a tenth of which
    decides early stopping. All rows of a borrower are in one fold.
    """
    outcome = outcome_of(frame)
    performing = ~frame["in_default"].to_numpy()
    borrowers = frame["borrower_id"].to_numpy()
    areas, areas_performing = [], []
    fold_of, margin_of = np.empty(len(outcome), dtype=np.int64), np.empty(len(outcome))
    for k, (rest, fold) in enumerate(_folds(outcome, borrowers, params)):
        train, stop = _stopping_rows(outcome, borrowers, rest, params)
        model = fit(frame[train], frame[stop], features, params)
        margin = model.margin(frame[fold])
        fold_of[fold], margin_of[fold] = k, margin
        areas.append(auc(outcome[fold], margin))
        kept = performing[fold]
        areas_performing.append(auc(outcome[fold][kept], margin[kept]))
    return CrossValidation(
        auc=_round(float(np.mean(areas))),
        auc_sd=_round(float(np.std(areas, ddof=1))),
        auc_performing=_round(float(np.mean(areas_performing))),
        fold=fold_of,
        margin=margin_of,
    )


def out_of_fold_margins(
    frame: pl.DataFrame, features: tuple[Feature, ...], params: TrainingParams, rounds: int
) -> Floats:
    """The margin of each row, from a booster of `rounds` rounds that was fitted without any row of its borrower."""
    outcome, borrowers = outcome_of(frame), frame["borrower_id"].to_numpy()
    folds = list(_folds(outcome, borrowers, params))

    def margin_of(rest: np.ndarray, fold: np.ndarray, params: TrainingParams) -> Floats:
        return fit_rounds(frame[np.sort(rest)], features, params, rounds).margin(frame[fold])

    margin = np.empty(len(outcome))
    found = side_by_side([partial(margin_of, rest, fold) for rest, fold in folds], params)
    for (_, fold), values in zip(folds, found, strict=True):
        margin[fold] = values
    return margin


def ablations(features: tuple[Feature, ...]) -> dict[str, tuple[Feature, ...]]:
    """The sets of features whose cross-validated AUC shows what each block of features adds.

    `behavioural`: only the behavioural features. `with_<block>`: these and one other block. Blocks without any of
    `features` are left out.
    """
    behavioural = tuple(f for f in features if f.block is Block.BEHAVIOURAL)
    sets = {"behavioural": behavioural}
    for block in (Block.TERMS, Block.LIMIT, Block.STATUS, Block.AMOUNT):
        added = tuple(f for f in features if f.block in (Block.BEHAVIOURAL, block))
        if len(added) > len(behavioural):
            sets[f"with_{block.value}"] = added
    return sets


def outcome_of(frame: pl.DataFrame) -> Floats:
    """The label of each row as 0.0 or 1.0."""
    return frame[TARGET].to_numpy().astype(np.float64)


def _folds(outcome: Floats, borrowers: np.ndarray, params: TrainingParams) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import StratifiedKFold

    chosen = StratifiedKFold(params.cv_folds, shuffle=True, random_state=params.seed)
    if _repeats(borrowers):
        yield from _by_borrower(chosen, outcome, borrowers)
    else:
        yield from chosen.split(outcome, outcome)


def _by_borrower(
    folds: "StratifiedKFold", outcome: Floats, borrowers: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (rows outside the fold, rows in it) per fold, with all rows of a borrower in one fold.

    The folds are stratified by whether a borrower ever defaults.
    """
    _, owner = np.unique(borrowers, return_inverse=True)
    ever = np.bincount(owner, outcome) > 0
    for _, chosen in folds.split(ever, ever):
        held = np.isin(owner, chosen)
        yield np.flatnonzero(~held), np.flatnonzero(held)


def _stopping_rows(
    outcome: Floats, borrowers: np.ndarray, rows: np.ndarray, params: TrainingParams
) -> tuple[np.ndarray, np.ndarray]:
    """Split `rows` into nine tenths for fitting and one tenth for early stopping, each in ascending order."""
    from sklearn.model_selection import StratifiedKFold, train_test_split

    if _repeats(borrowers):
        tenths = StratifiedKFold(10, shuffle=True, random_state=params.seed)
        train, stop = next(_by_borrower(tenths, outcome[rows], borrowers[rows]))
        return np.sort(rows[train]), np.sort(rows[stop])
    train, stop = train_test_split(rows, test_size=0.1, stratify=outcome[rows], random_state=params.seed)
    return np.sort(train), np.sort(stop)


def _repeats(borrowers: np.ndarray) -> bool:
    return len(np.unique(borrowers)) < len(borrowers)


def _round(value: float) -> float:
    return round(value, 6)
