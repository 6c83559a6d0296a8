"""One training run, from training set to a judged candidate: fit, calibrate, reference points, validation."""

from dataclasses import asdict, dataclass

import numpy as np
import polars as pl

from ml.calibrate import fit_platt
from ml.model import CreditModel
from ml.reasons import ReasonPolicy, Reasons, explain
from ml.train import TARGET, Fit, TrainingParams, fit, usable_features
from ml.training_set import TrainingSet
from ml.validate import CrossValidation, Performance, ablation, cross_validate, measure


@dataclass(frozen=True)
class Candidate:
    """A fitted model and everything that its promotion is decided on.

    `performance` is measured on the OOS block without excluded rows; `performance_all` on all of its rows, accounts
    already in default included.
    """

    model: CreditModel
    performance: Performance
    performance_all: Performance
    cross_validation: CrossValidation
    ablation: dict[str, float]
    reasons: Reasons
    exclusions: dict[str, int]
    block_rows: dict[str, int]

    @property
    def direction_failure_rate(self) -> float:
        """Share of candidate reasons on OOS that fail the direction check."""
        return self.reasons.direction_failures / max(self.reasons.candidates, 1)

    def metrics(self) -> dict[str, float | int]:
        """All figures under their stable names, as MLflow and the metric store show them."""
        return {
            **asdict(self.performance),
            "auc_all": self.performance_all.auc,
            "slope_all": self.performance_all.slope,
            "cv_auc": self.cross_validation.auc,
            "cv_auc_sd": self.cross_validation.auc_sd,
            "cv_auc_performing": self.cross_validation.auc_performing,
            **{f"ablation_{name}_auc": value for name, value in self.ablation.items()},
            "rounds": self.model.fit.best_iteration + 1,
            "features": len(self.model.fit.features),
            "reason_candidates": self.reasons.candidates,
            "reason_direction_failures": self.reasons.direction_failures,
            "reason_additivity_error": float(f"{self.reasons.additivity_error:.1e}"),
            **{f"excluded_{reason}": rows for reason, rows in self.exclusions.items()},
            **{f"rows_{block}": rows for block, rows in self.block_rows.items()},
        }


def train_candidate(
    source: str, training: TrainingSet, params: TrainingParams, reason_policy: ReasonPolicy
) -> Candidate:
    """Fit on TRAIN, stop on VAL, calibrate on CAL, judge on OOS; the model that is judged is the one that scores."""
    blocks = {name: training.block(name) for name in ("train", "val", "cal", "oos")}
    train, oos = blocks["train"], blocks["oos"]
    features = usable_features(train)
    fitted = fit(train, blocks["val"], features, params)
    model = CreditModel(
        source=source,
        fit=fitted,
        platt=fit_platt(fitted.margin(blocks["cal"]), _outcome(blocks["cal"])),
        mean_contribution=_mean_contribution(fitted, train),
        reference=_typical_good(train, fitted.features),
    )
    everyone = training.frame.filter(pl.col("block") == "oos")
    return Candidate(
        model=model,
        performance=_performance(model, oos),
        performance_all=_performance(model, everyone),
        cross_validation=cross_validate(training.frame, features, params),
        ablation=ablation(training.frame, features, params),
        reasons=explain(model, oos, fitted.margin(oos), reason_policy),
        exclusions=training.exclusions(),
        block_rows={name: block.height for name, block in blocks.items()},
    )


def _performance(model: CreditModel, rows: pl.DataFrame) -> Performance:
    margin = model.fit.margin(rows)
    return measure(_outcome(rows), model.platt.pd(margin), margin)


def _outcome(rows: pl.DataFrame) -> np.ndarray:
    return rows[TARGET].to_numpy().astype(np.float64)


def _mean_contribution(fitted: Fit, train: pl.DataFrame) -> dict[str, float]:
    """Rounded to 6 places of a logit, far below what a reason is worth."""
    mean = fitted.contributions(train)[:, :-1].mean(axis=0)
    return {name: round(float(value), 6) for name, value in zip(fitted.features, mean, strict=True)}


def _typical_good(train: pl.DataFrame, features: tuple[str, ...]) -> dict[str, float | None]:
    """The middle value of each feature among accounts that did not default; null where most have none."""
    good = train.filter(pl.col(TARGET) == 0)
    return good.select(pl.col(features).cast(pl.Float64).median()).row(0, named=True)
