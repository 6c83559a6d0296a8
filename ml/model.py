"""The credit model: booster, calibration, and the reference values for its reasons.

A model is saved as two files: `model.ubj` (XGBoost's own format, never a pickle) and `scoring.json`. One sha256 over
both files identifies it. Loading checks this hash before it interprets the files.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ml.calibrate import Floats, Platt
from ml.train import Fit

BOOSTER_FILE, SCORING_FILE = "model.ubj", "scoring.json"


class ModelIntegrityError(RuntimeError):
    """A file of the model is missing, or differs from the promoted one."""


@dataclass(frozen=True)
class CreditModel:
    """Everything that scoring needs.

    `mean_contribution`: mean SHAP contribution of each feature over the TRAIN block, in logits. `reference`: the
    feature values of a typical good account (None: missing). The direction check of reasons replaces an account's
    values with them.
    """

    source: str
    fit: Fit
    platt: Platt
    mean_contribution: dict[str, float]
    reference: dict[str, float | None]

    def pd(self, rows: pl.DataFrame, *, pd_floor: float) -> Floats:
        """The PD of each row: calibrated, at least `pd_floor`, and 1 in default. Scores and early warnings use it.

        Args:
            rows: the model's features, and `in_default`: whether the account was in default at the row's month-end.
            pd_floor: the policy's `scale.pd_floor`. It is not part of the model, so it can change without retraining.
        """
        floored = np.maximum(self.calibrated_pd(rows), pd_floor)
        return np.where(rows["in_default"].to_numpy(), 1.0, floored)

    def calibrated_pd(self, rows: pl.DataFrame) -> Floats:
        """The calibrated PD of each row, without the floor and also for accounts in default. Validation measures it."""
        return self.platt.pd(self.fit.margin(rows))

    def save(self, folder: Path) -> None:
        """Write the two files into an existing folder."""
        self.fit.booster.save_model(folder / BOOSTER_FILE)
        scoring = {
            "source": self.source,
            "features": list(self.fit.features),
            "best_iteration": self.fit.best_iteration,
            "platt": {"intercept": self.platt.intercept, "slope": self.platt.slope},
            "mean_contribution": self.mean_contribution,
            "reference": self.reference,
        }
        (folder / SCORING_FILE).write_text(json.dumps(scoring, indent=1, sort_keys=True))


def model_sha256(folder: Path) -> str:
    """One sha256 over the model's two files."""
    digest = hashlib.sha256()
    for name in (BOOSTER_FILE, SCORING_FILE):
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def load_model(folder: Path, expected_sha256: str) -> CreditModel:
    """Check that the model's files hash to `expected_sha256` (from the promotion ledger), then load the model.

    Raises:
        ModelIntegrityError: a file is missing or differs from what was promoted.
    """
    check_files(folder, expected_sha256)
    import xgboost as xgb

    scoring = json.loads((folder / SCORING_FILE).read_text())
    booster = xgb.Booster(model_file=folder / BOOSTER_FILE)
    return CreditModel(
        source=scoring["source"],
        fit=Fit(booster, scoring["best_iteration"], tuple(scoring["features"])),
        platt=Platt(**scoring["platt"]),
        mean_contribution=scoring["mean_contribution"],
        reference=scoring["reference"],
    )


def check_files(folder: Path, expected_sha256: str) -> None:
    """Check that a model's files hash to `expected_sha256`. The files are not interpreted.

    Raises:
        ModelIntegrityError: a file is missing or differs from what was promoted.
    """
    missing = [name for name in (BOOSTER_FILE, SCORING_FILE) if not (folder / name).is_file()]
    if missing:
        raise ModelIntegrityError(f"champion's files are missing: {', '.join(missing)} in {folder}")
    found = model_sha256(folder)
    if found != expected_sha256:
        raise ModelIntegrityError(
            f"the champion's files in {folder} hash to {found[:12]}, the ledger promoted {expected_sha256[:12]}: "
            "they were changed after promotion. Restore them from a backup or retrain; nothing was scored."
        )
