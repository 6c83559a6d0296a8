"""The credit model, which consists of a booster, a calibration and the reference values for its reasons.

A model is saved as two files: `model.ubj` (XGBoost's own format, never a pickle) and `scoring.json`. One sha256 over
both files identifies the model. Loading checks this hash before it interprets the files.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ml.calibrate import Floats, Platt
from ml.pd import final_pd
from ml.train import Fit

BOOSTER_FILE, SCORING_FILE = "model.ubj", "scoring.json"


class ModelIntegrityError(RuntimeError):
    """Raised if a file of a model is missing, or if the model's files differ from those that were promoted."""


@dataclass(frozen=True)
class CreditModel:
    """A trained model with everything that scoring needs.

    Attributes:
        source: the source whose accounts the model scores.
        fit: the booster, its best round and its features.
        platt: the calibration of the booster's margin.
        mean_contribution: the mean SHAP contribution of each feature over the TRAIN block, in logits.
        reference: the value of each feature for a typical good account, or None if no good account has a value. The
            direction check of the reasons replaces an account's values with these values.
    """

    source: str
    fit: Fit
    platt: Platt
    mean_contribution: dict[str, float]
    reference: dict[str, float | None]

    def pd(self, rows: pl.DataFrame, *, pd_floor: float) -> Floats:
        """Return the PD of each row; see `final_pd`. The model is applied only to accounts that are not in default.

        Scores, PD history and early warnings use this method.

        Args:
            rows: the features of the model, and `in_default`, which is true if the account was in default at the row's
                month-end.
            pd_floor: the policy's `scale.pd_floor`. It is not part of the model, so it can change without retraining.
        """
        in_default = rows["in_default"].to_numpy()
        calibrated = np.ones(rows.height)
        calibrated[~in_default] = self.calibrated_pd(rows.filter(~rows["in_default"]))
        return final_pd(calibrated, in_default, pd_floor)

    def calibrated_pd(self, rows: pl.DataFrame) -> Floats:
        """Return the calibrated PD of each row, without the PD floor.

        For accounts in default, this is also the PD from the model instead of 1. Validation measures this PD.
        """
        return self.platt.pd(self.fit.margin(rows))

    def save(self, folder: Path) -> None:
        """Write the model's two files, `model.ubj` and `scoring.json`, into an existing folder."""
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
    """Return the sha256 that identifies the saved model in `folder`, as a hexadecimal string.

    It is computed from the sha256 values of the model's two files.
    """
    digest = hashlib.sha256()
    for name in (BOOSTER_FILE, SCORING_FILE):
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def load_model(folder: Path, expected_sha256: str) -> CreditModel:
    """Load the model in `folder`, after checking its files against the hash in the promotion ledger.

    Args:
        folder: the folder with the model's two files.
        expected_sha256: the hash that the promotion ledger recorded for the model.

    Raises:
        ModelIntegrityError: a file is missing, or the files do not match the hash.
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
    """Check that the model files in `folder` exist and match `expected_sha256`. Their content is not interpreted.

    Raises:
        ModelIntegrityError: a file is missing, or the files do not match the hash.
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
