"""The training set: features joined to matured labels, exclusions counted, each borrower in one block."""

from dataclasses import dataclass

import polars as pl

from ml.features import FEATURE_NAMES
from ml.splits import SplitPolicy, assign
from ml.train import TARGET

KEYS = ("source", "loan_id", "month_on")


@dataclass(frozen=True)
class TrainingSet:
    """`frame`: every labelled observation, sorted by its keys, with `label`, `in_default`, `bucket`, `block`.

    `exclusion_reason` is null on the rows that a model may be fitted and validated on.
    """

    frame: pl.DataFrame

    def block(self, name: str) -> pl.DataFrame:
        """The rows of one block that are not excluded."""
        return self.frame.filter((pl.col("block") == name) & pl.col("exclusion_reason").is_null())

    def exclusions(self) -> dict[str, int]:
        """How many labelled observations each exclusion reason took out."""
        counted = self.frame.drop_nulls("exclusion_reason").group_by("exclusion_reason").len().sort("exclusion_reason")
        return dict(counted.iter_rows())


def build(features: pl.DataFrame, labels: pl.DataFrame, policy: SplitPolicy) -> TrainingSet:
    """Join one source's features and labels.

    Args:
        features: rows of `feat_loan_months`.
        labels: rows of `label_loan_months` whose outcome is known; `label` is 0 or 1.
        policy: buckets and salt.
    """
    frame = labels.select(*KEYS, TARGET, "exclusion_reason").join(features, on=KEYS, how="inner").sort(KEYS)
    return TrainingSet(
        assign(frame, policy).select(
            *KEYS, "borrower_id", "bucket", "block", TARGET, "exclusion_reason", "in_default", *FEATURE_NAMES
        )
    )
