"""Measures of how good a model is: discrimination, calibration, cross-validation and ablation.

All functions are pure. The formulas are:

- AUC is the Mann-Whitney statistic, in which ties count one half. Its standard error is DeLong's (1988), which is valid
  if every borrower has one row.
- KS is the largest distance between the cumulative distributions of defaults and non-defaults.
- Calibration is the logistic line of the outcome on logit(PD). Its ideal slope is 1 and its ideal intercept 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ml.calibrate import Floats, fit_platt, logistic_line
from ml.features import Block, Feature
from ml.train import TARGET, Fit, TrainingParams, fit, fit_rounds, side_by_side

if TYPE_CHECKING:
    from sklearn.model_selection import StratifiedKFold

BOOTSTRAPS, BOOTSTRAP_SEED = 2000, 42
# Above this number of rows a formula gives the interval: 2,000 samples would take minutes and give the same interval.
BOOTSTRAP_ROWS = 50_000


def auc(outcome: Floats, risk: Floats) -> float:
    """Return the area under the ROC curve.

    A higher `risk` means that a default is more likely. Only the order of the values matters.

    >>> auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    placements = _placements(outcome, risk)
    return float(placements[0].mean())


def auc_standard_error(outcome: Floats, risk: Floats) -> float:
    """Return DeLong's standard error of the AUC, which is valid only if every borrower has one row."""
    of_bad, of_good = _placements(outcome, risk)
    return float(np.sqrt(of_bad.var(ddof=1) / len(of_bad) + of_good.var(ddof=1) / len(of_good)))


def _placements(outcome: Floats, risk: Floats) -> tuple[Floats, Floats]:
    """Return the placement of each default and of each non-default, from which the AUC is computed.

    The first array has, for each default, the share of non-defaults with a lower risk. The second has, for each
    non-default, the share of defaults with a higher risk. Ties count one half.

    Raises:
        ValueError: there are no defaults or no non-defaults.
    """
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
    """Return the Kolmogorov-Smirnov distance between the risk distributions of defaults and non-defaults.

    It is between 0 (equal distributions) and 1 (no overlap).
    """
    grid = np.unique(risk)
    bad, good = np.sort(risk[outcome == 1]), np.sort(risk[outcome == 0])
    gap = np.searchsorted(bad, grid, side="right") / len(bad) - np.searchsorted(good, grid, side="right") / len(good)
    return float(np.abs(gap).max())


def clustered_standard_error(outcome: Floats, risk: Floats, clusters: np.ndarray) -> float:
    """Return the standard error of the AUC for rows that are correlated within clusters, such as borrowers.

    `clusters` contains the cluster of each row. The method sums DeLong's placements by cluster. Defaults and
    non-defaults in the same cluster may be correlated, so the covariance between a cluster's sum over its defaults and
    its sum over its non-defaults is included. Source: Obuchowski, "Nonparametric analysis of clustered ROC curve data",
    Biometrics 53 (1997).
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
    """Return the 95 % interval of the AUC as (low, high).

    `clusters` contains the borrower of each row. It can be None if no borrower has more than one row.

    If each borrower has one row, the interval comes from DeLong's standard error. With repeated borrowers that error
    would be far too small, so the interval comes from a bootstrap that draws borrowers with replacement. Above
    BOOTSTRAP_ROWS rows, `clustered_standard_error` replaces the bootstrap, which would take minutes.
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
    """Return the AUC of each of `BOOTSTRAPS` samples of borrowers, drawn with replacement.

    A row counts as often as its borrower was drawn. Samples with only one class of outcome are skipped.
    """
    random = np.random.default_rng(BOOTSTRAP_SEED)
    _, owner = np.unique(clusters, return_inverse=True)
    borrowers = int(owner.max()) + 1
    order = np.argsort(risk)
    is_bad = outcome[order] == 1
    owner_of_good, owner_of_bad = owner[order][~is_bad], owner[order][is_bad]
    # for each default, the non-defaults with a lower risk, and those with a risk that is not higher
    good, bad = risk[order][~is_bad], risk[order][is_bad]
    lower, not_higher = np.searchsorted(good, bad, side="left"), np.searchsorted(good, bad, side="right")
    areas, so_far = [], np.zeros(len(good) + 1, dtype=np.int64)
    for _ in range(BOOTSTRAPS):
        weight = np.bincount(random.integers(0, borrowers, borrowers), minlength=borrowers)
        np.cumsum(weight[owner_of_good], out=so_far[1:])
        drawn = weight[owner_of_bad]
        if drawn.sum() and so_far[-1]:
            below = (so_far[lower] + so_far[not_higher]) / 2
            areas.append(float((drawn * below).sum() / drawn.sum() / so_far[-1]))
    return np.array(areas)


@dataclass(frozen=True)
class Performance:
    """The performance of one model on one set of rows.

    Rates, probabilities and the AUC are fractions, not percentages. `auc_low` and `auc_high` are the ends of the 95 %
    interval of the AUC. `slope` and `intercept` describe the calibration.
    """

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
    """Compute all performance figures of a model on a set of rows.

    Args:
        outcome: the outcome of each row, 0 or 1.
        pd: the calibrated PD of each row.
        risk: the value that ranks the rows for AUC and KS, normally the raw margin. PDs are rounded, so two rows with
            different margins could have the same PD.
        clusters: the borrower of each row, or None if no borrower has more than one row.
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

    Attributes:
        auc: the mean of the AUC over the folds.
        auc_sd: the standard deviation of the AUC over the folds.
        auc_performing: the mean of the AUC over the folds, measured without the accounts that were already in
            default.
        fold: the number of the fold that each row belongs to.
        margin: the margin of each row in logits, from the model that was fitted without the rows of this fold.
    """

    auc: float
    auc_sd: float
    auc_performing: float
    fold: np.ndarray
    margin: Floats

    def pd(self, outcome: Floats) -> Floats:
        """Return the calibrated out-of-fold PD of each row.

        The rows of a fold are calibrated with a Platt line that was fitted on the margins of all other folds.
        """
        result = np.empty_like(self.margin)
        for k in np.unique(self.fold):
            held = self.fold == k
            result[held] = fit_platt(self.margin[~held], outcome[~held]).pd(self.margin[held])
        return result


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation, as positions in the frame, in ascending order.

    Attributes:
        train: the rows that the fold's model is fitted on, nine tenths of the rows of the other folds.
        stop: the rows that are used only for early stopping, the last tenth of the rows of the other folds.
        rest: all rows of the other folds.
        held: the rows of the fold, which the model is measured on.
    """

    train: np.ndarray
    stop: np.ndarray
    rest: np.ndarray
    held: np.ndarray


def folds_of(frame: pl.DataFrame, params: TrainingParams) -> list[Fold]:
    """Split the rows of `frame` into the folds of a cross-validation.

    `frame` must contain `label` and `borrower_id`. All rows of a borrower are in the same fold, and the folds are
    stratified by outcome.
    """
    outcome, borrowers = outcome_of(frame), borrowers_of(frame)
    return [
        Fold(*_stopping_rows(outcome, borrowers, rest, params), np.sort(rest), held)
        for rest, held in _folds(outcome, borrowers, params)
    ]


def fit_fold(frame: pl.DataFrame, fold: Fold, features: tuple[Feature, ...], params: TrainingParams) -> Fit:
    """Fit a model on the rows of all other folds. `frame` must contain the features and `label`."""
    return fit(frame[fold.train], frame[fold.stop], features, params)


def cross_validation(frame: pl.DataFrame, folds: Sequence[Fold], fits: Sequence[Fit]) -> CrossValidation:
    """Return the result of a cross-validation: each row is predicted by the model of its fold.

    Args:
        frame: the rows, with the features, `label` and `in_default`.
        folds: the folds of the rows.
        fits: the result of `fit_fold` for each fold.
    """
    outcome, performing = outcome_of(frame), ~frame["in_default"].to_numpy()
    areas, areas_performing = [], []
    fold_of, margin_of = np.empty(len(outcome), dtype=np.int64), np.empty(len(outcome))
    for k, (fold, fitted) in enumerate(zip(folds, fits, strict=True)):
        margin = fitted.margin(frame[fold.held])
        fold_of[fold.held], margin_of[fold.held] = k, margin
        kept = performing[fold.held]
        areas.append(auc(outcome[fold.held], margin))
        areas_performing.append(auc(outcome[fold.held][kept], margin[kept]))
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
    """Return the margin of each row in logits, from a booster that was fitted without the rows of this row's borrower.

    Each booster is fitted with `rounds` rounds, without early stopping.
    """
    folds = folds_of(frame, params)

    def margins(fold: Fold, params: TrainingParams) -> Floats:
        return fit_rounds(frame[fold.rest], features, params, rounds).margin(frame[fold.held])

    found = side_by_side([partial(margins, fold) for fold in folds], params)
    margin = np.empty(frame.height)
    for fold, values in zip(folds, found, strict=True):
        margin[fold.held] = values
    return margin


def ablations(features: tuple[Feature, ...]) -> dict[str, tuple[Feature, ...]]:
    """Return the sets of features with which the contribution of each block of features to the AUC is measured.

    The set `behavioural` contains only the behavioural features. Each set `with_<block>` contains these features and
    the features of one other block. A block without any of the given features has no set.
    """
    behavioural = tuple(f for f in features if f.block is Block.BEHAVIOURAL)
    sets = {"behavioural": behavioural}
    for block in (Block.TERMS, Block.LIMIT, Block.STATUS, Block.AMOUNT):
        added = tuple(f for f in features if f.block in (Block.BEHAVIOURAL, block))
        if len(added) > len(behavioural):
            sets[f"with_{block.value}"] = added
    return sets


def outcome_of(frame: pl.DataFrame) -> Floats:
    """Return the label of each row as 0.0 or 1.0."""
    return frame[TARGET].to_numpy().astype(np.float64)


def borrowers_of(frame: pl.DataFrame) -> np.ndarray:
    """Return a number for the borrower of each row. The numbers are in the order of the borrowers' pseudonyms.

    Numbers are compared and sorted much faster than texts.
    """
    return frame["borrower_id"].rank("dense").to_numpy()


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
    """Yield (rows outside the fold, rows in the fold) for each fold, with all rows of a borrower in the same fold.

    Rows are given by their positions in `outcome`. The folds are stratified by whether a borrower has a default in any
    row.
    """
    _, owner = np.unique(borrowers, return_inverse=True)
    ever = np.bincount(owner, outcome) > 0
    for _, chosen in folds.split(ever, ever):
        held = np.isin(owner, chosen)
        yield np.flatnonzero(~held), np.flatnonzero(held)


def _stopping_rows(
    outcome: Floats, borrowers: np.ndarray, rows: np.ndarray, params: TrainingParams
) -> tuple[np.ndarray, np.ndarray]:
    """Split `rows` into nine tenths for fitting and one tenth for early stopping.

    If any borrower has several rows, all of a borrower's rows go to the same part. Both parts are sorted in ascending
    order.
    """
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
