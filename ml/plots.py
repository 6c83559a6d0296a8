"""Plots of a candidate for MLflow, drawn with Matplotlib.

They show the ROC curve, the calibration, the scores, the feature importance and the learning curve.
"""

from typing import TYPE_CHECKING

import numpy as np

from ml.calibrate import Floats
from ml.train import Fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _GREY, _RED = "#1f4e79", "#8c8c8c", "#b5322b"


def pictures(fit: Fit, outcome: Floats, pd: Floats, score: Floats) -> "dict[str, Figure]":
    """Draw the five plots of a candidate and return them by file name.

    Args:
        fit: the fitted booster.
        outcome: the outcome (0 or 1) of each account of the OOS block.
        pd: the calibrated PD of each of these accounts.
        score: the score of each of these accounts, in points.
    """
    return {
        "roc.png": roc(outcome, pd),
        "calibration.png": calibration(outcome, pd),
        "score_distribution.png": score_distribution(outcome, score),
        "importance.png": importance(fit),
        "learning_curve.png": learning_curve(fit),
    }


def _figure(title: str, x: str, y: str) -> "tuple[Figure, Axes]":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=12)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def roc(outcome: Floats, pd: Floats) -> "Figure":
    """Plot the ROC curve: the share of defaults found (y) against the share of good accounts flagged (x)."""
    from sklearn.metrics import auc, roc_curve

    flagged, found, _ = roc_curve(outcome, pd)
    figure, axes = _figure(
        f"ROC, out of sample: AUC {auc(flagged, found):.3f}", "good accounts flagged", "defaults found"
    )
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--")
    axes.plot(flagged, found, color=_BLUE, linewidth=2)
    axes.set_aspect("equal")
    return figure


def calibration(outcome: Floats, pd: Floats) -> "Figure":
    """Plot the default rate against the mean PD for ten groups of accounts, with 95 % intervals.

    The accounts are sorted by PD and divided into groups of about equal size. The intervals use the normal
    approximation of the binomial distribution.
    """
    figure, axes = _figure("Calibration, out of sample", "mean PD of the group", "default rate of the group")
    groups = np.array_split(np.argsort(pd, kind="stable"), 10)
    expected = np.array([pd[g].mean() for g in groups])
    observed = np.array([outcome[g].mean() for g in groups])
    bars = 1.96 * np.sqrt(observed * (1 - observed) / np.array([len(g) for g in groups]))
    top = float(max(expected.max(), observed.max())) * 1.08
    axes.plot([0, top], [0, top], color=_GREY, linewidth=1, linestyle="--")
    axes.errorbar(expected, observed, yerr=bars, fmt="o", color=_BLUE, capsize=3)
    return figure


def score_distribution(outcome: Floats, score: Floats) -> "Figure":
    """Plot the distribution of scores, separately for accounts that paid and accounts that defaulted."""
    figure, axes = _figure("Score distribution, out of sample", "score", "share of accounts")
    bins = np.linspace(score.min(), score.max(), 31)
    for value, name, colour in ((0, "paid", _BLUE), (1, "defaulted", _RED)):
        chosen = score[outcome == value]
        axes.hist(
            chosen, bins.tolist(), weights=np.full(len(chosen), 1 / len(chosen)), alpha=0.6, color=colour, label=name
        )
    axes.legend(frameon=False)
    return figure


def importance(fit: Fit) -> "Figure":
    """Plot the fifteen features with the largest total gain, each as a share of the total gain of all features."""
    gain = fit.booster.get_score(importance_type="total_gain")
    top = sorted(gain.items(), key=lambda item: item[1])[-15:]
    figure, axes = _figure("Importance", "share of total gain", "")
    axes.barh([name for name, _ in top], np.array([value for _, value in top]) / sum(gain.values()), color=_BLUE)
    return figure


def learning_curve(fit: Fit) -> "Figure":
    """Plot the log loss after each boosting round on the TRAIN and VAL blocks.

    A dashed line marks the best round, which is the one with the lowest log loss on VAL. TRAIN is only drawn if the fit
    measured it.
    """
    figure, axes = _figure(f"Learning curve: best round {fit.best_iteration + 1}", "boosting round", "log loss")
    for block, colour in (("train", _GREY), ("val", _BLUE)):
        values = fit.curve.get(f"{block}_logloss", [])
        axes.plot(np.arange(1, len(values) + 1), np.array(values), color=colour, linewidth=2, label=block)
    axes.axvline(fit.best_iteration + 1, color=_RED, linewidth=1, linestyle="--")
    axes.legend(frameon=False)
    return figure
