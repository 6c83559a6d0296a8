"""Training of the booster, with monotone constraints and early stopping on the VAL block. Rows are not resampled."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import polars as pl
from pydantic import Field, ValidationInfo, field_validator

from ml.features import FEATURES, Feature, by_name
from ml.section import Section

if TYPE_CHECKING:
    import xgboost as xgb

TARGET = "label"
T = TypeVar("T")


class TrainingParams(Section):
    """Hyper-parameters of XGBoost and of the cross-validation."""

    seed: int = Field(ge=0, le=2**31 - 1, description="Random seed of the booster and of the cross-validation folds.")
    threads: int = Field(
        ge=1, description="Number of XGBoost's threads. Another number may change the last bits of a model."
    )
    learning_rate: float = Field(gt=0, le=1, description="Factor by which each tree's contribution is scaled.")
    max_depth: int = Field(ge=1, le=20, description="Largest number of levels of a tree.")
    min_child_weight: float = Field(ge=0, description="Smallest sum of second derivatives in a leaf.")
    subsample: float = Field(gt=0, le=1, description="Share of the rows that each tree is trained on.")
    colsample_bytree: float = Field(gt=0, le=1, description="Share of the features that each tree is trained on.")
    reg_lambda: float = Field(ge=0, description="L2 penalty on the leaf weights.")
    max_rounds: int = Field(ge=1, description="Largest number of trees.")
    early_stopping_rounds: int = Field(
        ge=1,
        description="Training stops after this many rounds without a better result. Must not be above `max_rounds`.",
    )
    cv_folds: int = Field(ge=2, description="Number of folds of the cross-validation.")
    min_defaults: int = Field(
        ge=1,
        description="Number of defaults that a block needs to be used for calibration or validation. With fewer, "
        "out-of-fold predictions are used instead.",
    )
    sample_rows: int = Field(
        ge=1,
        description="Largest number of rows on which figures that only describe a model (cross-validation, learning "
        "curve) are measured.",
    )

    @field_validator("early_stopping_rounds")
    @classmethod
    def _within_all_rounds(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("max_rounds")
        if most is not None and value > most:
            raise ValueError(f"early_stopping_rounds ({value}) must not be above max_rounds ({most})")
        return value

    def xgboost(self, features: tuple[Feature, ...]) -> dict[str, object]:
        """Return the parameters as a dictionary for `xgboost.train`.

        It includes a monotone constraint for each feature whose sign is not 0.
        """
        return {
            "objective": "binary:logistic",
            "tree_method": "hist",
            "eval_metric": "logloss",  # decides when to stop
            "learning_rate": self.learning_rate,
            "max_depth": self.max_depth,
            "min_child_weight": self.min_child_weight,
            "subsample": self.subsample,
            "colsample_bytree": self.colsample_bytree,
            "reg_lambda": self.reg_lambda,
            "seed": self.seed,
            "nthread": self.threads,
            "monotone_constraints": {f.name: f.sign for f in features if f.sign},
        }


@dataclass(frozen=True)
class Fit:
    """A fitted booster.

    Attributes:
        booster: the trees of all rounds, including those after the best round.
        best_iteration: the index of the best round, counted from 0. Predictions use the trees up to and including this
            round.
        features: the names of the features, in the order in which the booster expects them.
        curve: the learning curve, with one value per boosting round for `val_auc` and `val_logloss`. If `fit` was
            called with `follow_train`, `train_auc` and `train_logloss` are included. The curve is only for display and
            is not saved with the model. It is empty after `fit_rounds`.
    """

    booster: "xgb.Booster"
    best_iteration: int
    features: tuple[str, ...]
    curve: Mapping[str, list[float]] = field(default_factory=dict, compare=False)

    def margin(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the margin of each row in logits, from the trees up to and including the best round."""
        return self._predict(frame, output_margin=True)

    def contributions(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the SHAP contributions in logits, with shape (rows, features + 1). The last column is the bias."""
        return self._predict(frame, pred_contribs=True)

    def _predict(self, frame: pl.DataFrame, **kind: bool) -> np.ndarray:
        rounds = (0, self.best_iteration + 1)
        data = matrix(frame, self.features)
        return np.asarray(self.booster.predict(data, iteration_range=rounds, **kind), dtype=np.float64)


def sampled(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
    """Return every n-th row of a frame, so that at most `rows` rows are left.

    If the frame has no more than `rows` rows, all of them are returned.
    """
    return frame.gather_every(-(-frame.height // rows)) if frame.height > rows else frame


def usable_features(train: pl.DataFrame) -> tuple[Feature, ...]:
    """Return the features that have at least one value in the TRAIN block."""
    return tuple(f for f in FEATURES if train[f.name].null_count() < train.height)


def values_of(frame: pl.DataFrame, features: tuple[str, ...]) -> np.ndarray:
    """Return the given columns of a frame as an array of 32-bit floats, the type that XGBoost uses.

    The columns have the given order. Nulls become NaN.
    """
    return frame.select(pl.col(features).cast(pl.Float32)).to_numpy()


def matrix(frame: pl.DataFrame, features: tuple[str, ...], *, with_target: bool = False) -> "xgb.DMatrix":
    """Return an XGBoost matrix with the given columns of a frame, in the given order.

    Nulls become missing values. If `with_target` is true, the matrix also contains the labels.
    """
    import xgboost as xgb

    values = values_of(frame, features)
    label = frame[TARGET].to_numpy() if with_target else None
    return xgb.DMatrix(values, label=label, feature_names=list(features), missing=np.nan)


def fit(
    train: pl.DataFrame,
    val: pl.DataFrame,
    features: tuple[Feature, ...],
    params: TrainingParams,
    *,
    follow_train: bool = False,
) -> Fit:
    """Fit a booster on `train`, with early stopping on `val`.

    Both frames must contain the features and `label` (0 or 1). Their rows must have the same order in every run, so
    that the result can be reproduced.

    If `follow_train` is true, the learning curve also has the figures on `train`. They are measured after each round on
    at most `sample_rows` rows. This takes time and does not change the model.

    Raises:
        ValueError: `train` or `val` has no rows, or has only one class of outcome.
    """
    import xgboost as xgb

    for name, block in (("train", train), ("val", val)):
        if block[TARGET].n_unique() != 2:
            raise ValueError(f"block {name!r} must hold defaults and non-defaults; it has {block.height} rows")
    names = tuple(f.name for f in features)
    learned = matrix(train, names, with_target=True)
    followed = matrix(sampled(train, params.sample_rows), names, with_target=True) if follow_train else None
    stopped_on = (matrix(val, names, with_target=True), "val")
    evaluations: dict[str, dict[str, list[float]]] = {}
    settings = params.xgboost(by_name(names))
    if follow_train:  # for the learning curve only; the last metric decides when to stop
        settings |= {"eval_metric": ["auc", "logloss"]}
    booster = xgb.train(
        settings,
        learned,
        num_boost_round=params.max_rounds,
        evals=[(followed, "train"), stopped_on] if followed else [stopped_on],  # the last block decides when to stop
        early_stopping_rounds=params.early_stopping_rounds,
        evals_result=evaluations,
        verbose_eval=False,
    )
    curve = {f"{block}_{what}": values for block, figures in evaluations.items() for what, values in figures.items()}
    return Fit(booster, int(booster.best_iteration), names, curve)


def side_by_side(calls: Sequence[Callable[[TrainingParams], T]], params: TrainingParams) -> list[T]:
    """Call several functions that fit models in parallel, and return their results in the order of the functions.

    At most `params.threads` functions run at the same time. Each function gets `params` with `threads` set to 1. Two
    fits in parallel with one thread each take half to three quarters of the time of two fits in sequence with two
    threads each.
    """
    single = params.model_copy(update={"threads": 1})
    with ThreadPoolExecutor(params.threads) as pool:
        return list(pool.map(lambda call: call(single), calls))


def fit_rounds(train: pl.DataFrame, features: tuple[Feature, ...], params: TrainingParams, rounds: int) -> Fit:
    """Fit a booster with exactly `rounds` rounds, without early stopping.

    The last round is used as the best round.
    """
    import xgboost as xgb

    names = tuple(f.name for f in features)
    booster = xgb.train(params.xgboost(by_name(names)), matrix(train, names, with_target=True), num_boost_round=rounds)
    return Fit(booster, rounds - 1, names)
