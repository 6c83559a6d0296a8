"""One training run: fit a model, calibrate it, compute its reference values, and validate it.

A candidate is calibrated on the CAL block and judged on the OOS block. If one of the two has too few defaults,
out-of-fold predictions replace it, and a tag records that.
"""

from dataclasses import asdict, dataclass
from functools import partial

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
    cross_validate,
    measure,
    out_of_fold_margins,
    outcome_of,
)

CAL_BLOCK, OUT_OF_FOLD, OOS_BLOCK = "cal", "out_of_fold", "oos"


@dataclass(frozen=True)
class Candidate:
    """A fitted model and the evidence for its promotion decision.

    `performance`: measured on usable rows outside of the training data. `judged_on` names them: `oos` or `out_of_fold`.
    `performance_on`: the same figures for other sets of rows, by the set's name. `calibrated_on`: `cal` or
    `out_of_fold`. `exclusions`: number of excluded observations by reason. `block_rows`: number of rows by block.
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
        """All figures by name. MLflow and the metric store use the same names."""
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
        """Two tags: which rows the candidate was calibrated on, and which rows it was judged on."""
        return {"calibrated_on": self.calibrated_on, "judged_on": self.judged_on}

    def learning(self) -> dict[str, float]:
        """The values of the learning curve at its best round, named `<figure>_<block>`.

        They serve to compare fits. Models are not judged by them.
        """
        best = self.model.fit.best_iteration
        curves = {"_".join(reversed(name.split("_"))): values for name, values in self.model.fit.curve.items()}
        return {name: values[best] for name, values in sorted(curves.items())}


def train_candidate(
    source: str, training: TrainingSet, params: TrainingParams, reason_policy: ReasonPolicy
) -> Candidate:
    """Fit a model on TRAIN with early stopping on VAL, then calibrate and judge it. Scoring uses this same model.

    Some figures only describe the model: the ablation, the mean contributions, the proof of reasons, and, if the model
    is judged on the OOS block, the cross-validation. They are measured on at most `sample_rows` rows, every n-th one.
    """
    blocks = {name: training.block(name) for name in BLOCKS}
    late = training.block(OUT_OF_TIME)
    train, oos = blocks["train"], blocks["oos"]
    features = usable_features(train)
    fitted = fit(train, blocks["val"], features, params, follow_train=True)
    platt, calibrated_on = _calibrate(fitted, blocks, features, params)
    mean = _mean_contribution(fitted, sampled(train, params.sample_rows))
    model = CreditModel(source, fitted, platt, mean, _typical_good(train, fitted.features))
    oos_judges = int(oos[TARGET].sum()) >= params.min_defaults
    sample = sampled(training.labelled, params.sample_rows)
    validation, *compared = side_by_side(
        [
            partial(cross_validate, sample if oos_judges else training.labelled, features),
            *(partial(cross_validate, sample, some) for some in ablations(features).values()),
        ],
        params,
    )
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
        ablation={name: found.auc for name, found in zip(ablations(features), compared, strict=True)},
        reasons=_explained(model, sampled(judged, params.sample_rows), reason_policy),
        exclusions=training.excluded,
        block_rows={name: block.height for name, block in (blocks | {OUT_OF_TIME: late}).items() if block.height},
    )


def _calibrate(
    fitted: Fit, blocks: dict[str, pl.DataFrame], features: tuple[Feature, ...], params: TrainingParams
) -> tuple[Platt, str]:
    """Fit Platt's line on the CAL block, or, if CAL has too few defaults, on out-of-fold margins.

    The out-of-fold margins are those of all rows of TRAIN, VAL and CAL. Returns the line, and `cal` or `out_of_fold`.
    """
    cal = blocks["cal"]
    if int(cal[TARGET].sum()) >= params.min_defaults:
        return fit_platt(fitted.margin(cal), outcome_of(cal)), CAL_BLOCK
    seen = pl.concat([blocks["train"], blocks["val"], cal])
    margin = out_of_fold_margins(seen, features, params, fitted.best_iteration + 1)
    return fit_platt(margin, outcome_of(seen)), OUT_OF_FOLD


def _performance(model: CreditModel, rows: pl.DataFrame) -> Performance:
    pd, margin = model.calibrated_pd(rows), model.fit.margin(rows)
    return measure(outcome_of(rows), pd, margin, rows["borrower_id"].to_numpy())


def _out_of_fold_performance(training: TrainingSet, validation: CrossValidation) -> Performance:
    """Measure the usable rows. Each PD comes from a model and a calibration that were fitted without the row."""
    rows = training.labelled
    outcome = outcome_of(rows)
    pd = validation.pd(outcome)
    kept = rows["exclusion_reason"].is_null().to_numpy()
    return measure(outcome[kept], pd[kept], np.log(pd / (1 - pd))[kept], rows["borrower_id"].to_numpy()[kept])


def _explained(model: CreditModel, rows: pl.DataFrame, policy: ReasonPolicy) -> Reasons:
    return explain(model, rows, model.fit.margin(rows), policy)


def _mean_contribution(fitted: Fit, train: pl.DataFrame) -> dict[str, float]:
    """The mean contribution of each feature over `train`, in logits.

    It is rounded to 6 decimal places, far finer than the threshold of a reason. TRAIN has no account in default.
    """
    mean = fitted.contributions(train)[:, :-1].mean(axis=0)
    return {name: round(float(value), 6) for name, value in zip(fitted.features, mean, strict=True)}


def _typical_good(train: pl.DataFrame, features: tuple[str, ...]) -> dict[str, float | None]:
    """The median of each feature over the accounts that did not default; None if none of them has a value."""
    good = train.filter(pl.col(TARGET) == 0)
    return good.select(pl.col(features).cast(pl.Float64).median()).row(0, named=True)
