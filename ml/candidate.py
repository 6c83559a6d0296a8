"""Training of a candidate, which is fitted, calibrated and validated in one run.

A candidate is calibrated on the CAL block and validated on the OOS block. If one of these blocks has too few defaults,
out-of-fold predictions are used instead, and a tag of the candidate records this.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice

import numpy as np
import polars as pl

from ml.calibrate import Platt, fit_platt
from ml.features import Feature
from ml.model import CreditModel
from ml.reasons import ReasonPolicy, Reasons, explain
from ml.splits import BLOCKS, OUT_OF_TIME
from ml.train import TARGET, Fit, TrainingParams, fit, sampled, side_by_side, usable_features
from ml.training_set import TrainingSet
from ml.validate import (
    CrossValidation,
    Performance,
    ablations,
    borrowers_of,
    cross_validation,
    fit_fold,
    folds_of,
    measure,
    out_of_fold_margins,
    outcome_of,
)

CAL_BLOCK, OUT_OF_FOLD, OOS_BLOCK = "cal", "out_of_fold", "oos"


@dataclass(frozen=True)
class Candidate:
    """A fitted model, with the evidence for the decision about its promotion.

    Attributes:
        model: the calibrated model.
        performance: the figures that the promotion decision is based on. They are measured on usable rows that were not
            used to fit the model that predicted them.
        judged_on: the rows on which `performance` was measured: `oos` or `out_of_fold`.
        calibrated_on: the rows on which the model was calibrated: `cal` or `out_of_fold`.
        performance_on: the same figures for other sets of rows, by the name of the set.
        cross_validation: the result of the cross-validation.
        ablation: the AUC of models with only some blocks of features, with the keys that `ml.validate.ablation`
            returns.
        reasons: the reason codes of a sample of rows, and figures about how they were proven.
        exclusions: the number of excluded observations by reason.
        block_rows: the number of usable rows in each block that has any.
    """

    model: CreditModel
    performance: Performance
    judged_on: str
    calibrated_on: str
    performance_on: dict[str, Performance]
    cross_validation: CrossValidation
    ablation: dict[str, float]
    reasons: Reasons
    exclusions: dict[str, int]
    block_rows: dict[str, int]

    def metrics(self) -> dict[str, float | int]:
        """Return all figures of the candidate by name. MLflow and the metric store use the same names."""
        further = {f"{what}_{n}": getattr(p, what) for n, p in self.performance_on.items() for what in ("auc", "slope")}
        return {
            **asdict(self.performance),
            **further,
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

    def tags(self) -> dict[str, str]:
        """Return two tags, which name the rows used for calibration and the rows used for validation."""
        return {"calibrated_on": self.calibrated_on, "judged_on": self.judged_on}

    def learning(self) -> dict[str, float]:
        """Return the values of the learning curve at the best round, by names such as `logloss_val`.

        They help to compare fits, but are not used to decide about a model.
        """
        best = self.model.fit.best_iteration
        curves = {"_".join(reversed(name.split("_"))): values for name, values in self.model.fit.curve.items()}
        return {name: values[best] for name, values in sorted(curves.items())}


def train_candidate(
    source: str, training: TrainingSet, params: TrainingParams, reason_policy: ReasonPolicy
) -> Candidate:
    """Train and validate a candidate. The resulting model is used for scoring as it is, without a further fit.

    The model is fitted on the TRAIN block with early stopping on VAL. It is then calibrated and validated.

    To save time, some figures are measured on a sample of at most `sample_rows` rows. These are the ablation, the mean
    contributions, the figures about reasons and, if the model is validated on the OOS block, the cross-validation.
    """
    blocks = {name: training.block(name) for name in BLOCKS}
    late = training.block(OUT_OF_TIME)
    train, oos = blocks["train"], blocks["oos"]
    features = usable_features(train)
    oos_judges = int(oos[TARGET].sum()) >= params.min_defaults
    sample = sampled(training.labelled, params.sample_rows)
    labelled = sample if oos_judges else training.labelled
    fitted, validation, ablation = _fit_all(train, blocks["val"], labelled, sample, features, params)
    platt, calibrated_on = _calibrate(fitted, blocks, features, params)
    mean = _mean_contribution(fitted, sampled(train, params.sample_rows))
    model = CreditModel(source, fitted, platt, mean, _typical_good(train, fitted.features))
    if oos_judges:
        judged_on, judged, performance = OOS_BLOCK, oos, _performance(model, oos)
    else:
        judged_on, judged = OUT_OF_FOLD, training.usable
        performance = _out_of_fold_performance(training, validation)
    with_defaulted = training.labelled.filter(pl.col("block") == "oos")
    further = {"all": with_defaulted, "oos": None if oos_judges else oos, "oot": late}
    return Candidate(
        model=model,
        performance=performance,
        judged_on=judged_on,
        calibrated_on=calibrated_on,
        performance_on={n: _performance(model, r) for n, r in further.items() if r is not None and r.height},
        cross_validation=validation,
        ablation=ablation,
        reasons=_explained(model, sampled(judged, params.sample_rows), reason_policy),
        exclusions=training.excluded,
        block_rows={name: block.height for name, block in (blocks | {OUT_OF_TIME: late}).items() if block.height},
    )


def _fit_all(
    train: pl.DataFrame,
    val: pl.DataFrame,
    labelled: pl.DataFrame,
    sample: pl.DataFrame,
    features: tuple[Feature, ...],
    params: TrainingParams,
) -> tuple[Fit, CrossValidation, dict[str, float]]:
    """Run all fits of a candidate: its own, and those of the cross-validation and of the ablation.

    None of them depends on another one, and together they take most of a training's time. So they run in parallel; only
    the candidate's own fit runs by itself, with all threads, if it has many more rows than the others.

    Args:
        train: the rows that the candidate is fitted on.
        val: the rows on which its fit is stopped early.
        labelled: the rows of the cross-validation.
        sample: the rows of the ablation.
        features: the features of the candidate.
        params: the hyper-parameters.

    Returns:
        The fitted candidate, the result of its cross-validation, and the AUC for each set of `ablations`.
    """
    candidate: Callable[[TrainingParams], Fit] = partial(fit, train, val, features, follow_train=True)
    sets = ablations(features)
    folds = folds_of(labelled, params)
    folds_of_sample = folds if sample is labelled else folds_of(sample, params)
    crossed = [(labelled, folds, features), *((sample, folds_of_sample, some) for some in sets.values())]
    fold_fits: list[Callable[[TrainingParams], Fit]] = [
        partial(fit_fold, rows, fold, some) for rows, parts, some in crossed for fold in parts
    ]
    if train.height > 2 * params.sample_rows:  # on one core it would still run when all others have ended
        fitted, found = candidate(params), side_by_side(fold_fits, params)
    else:
        fitted, *found = side_by_side([candidate, *fold_fits], params)
        fitted.booster.set_param("nthread", params.threads)  # it was fitted with one thread; it predicts with all
    remaining = iter(found)
    validation, *compared = [
        cross_validation(rows, parts, list(islice(remaining, len(parts)))) for rows, parts, _ in crossed
    ]
    return fitted, validation, {name: result.auc for name, result in zip(sets, compared, strict=True)}


def _calibrate(
    fitted: Fit, blocks: dict[str, pl.DataFrame], features: tuple[Feature, ...], params: TrainingParams
) -> tuple[Platt, str]:
    """Fit Platt's line on the CAL block, or on out-of-fold margins if CAL has too few defaults.

    The out-of-fold margins are those of all rows of TRAIN, VAL and CAL. Returns the line and the name of the rows that
    it was fitted on, `cal` or `out_of_fold`.
    """
    cal = blocks["cal"]
    if int(cal[TARGET].sum()) >= params.min_defaults:
        return fit_platt(fitted.margin(cal), outcome_of(cal)), CAL_BLOCK
    seen = pl.concat([blocks["train"], blocks["val"], cal])
    margin = out_of_fold_margins(seen, features, params, fitted.best_iteration + 1)
    return fit_platt(margin, outcome_of(seen)), OUT_OF_FOLD


def _performance(model: CreditModel, rows: pl.DataFrame) -> Performance:
    pd, margin = model.calibrated_pd(rows), model.fit.margin(rows)
    return measure(outcome_of(rows), pd, margin, borrowers_of(rows))


def _out_of_fold_performance(training: TrainingSet, validation: CrossValidation) -> Performance:
    """Measure the performance on all usable rows.

    Each PD comes from a model and a calibration that were fitted without the row.
    """
    rows = training.labelled
    outcome = outcome_of(rows)
    pd = validation.pd(outcome)
    kept = rows["exclusion_reason"].is_null().to_numpy()
    return measure(outcome[kept], pd[kept], np.log(pd / (1 - pd))[kept], borrowers_of(rows)[kept])


def _explained(model: CreditModel, rows: pl.DataFrame, policy: ReasonPolicy) -> Reasons:
    return explain(model, rows, model.fit.margin(rows), policy)


def _mean_contribution(fitted: Fit, train: pl.DataFrame) -> dict[str, float]:
    """Return the mean SHAP contribution of each feature over `train`, in logits.

    The values are rounded to 6 decimal places, which is much finer than the threshold for a reason. The TRAIN block
    contains no accounts in default.
    """
    mean = fitted.contributions(train)[:, :-1].mean(axis=0)
    return {name: round(float(value), 6) for name, value in zip(fitted.features, mean, strict=True)}


def _typical_good(train: pl.DataFrame, features: tuple[str, ...]) -> dict[str, float | None]:
    """Return the median of each feature over the accounts that did not default, or None if none of them has a value."""
    good = train.filter(pl.col(TARGET) == 0)
    return good.select(pl.col(features).cast(pl.Float64).median()).row(0, named=True)
