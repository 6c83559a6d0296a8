"""The PD of an account, as scores, reports and warnings use it."""

import numpy as np

from ml.calibrate import Floats


def final_pd(calibrated: Floats, in_default: np.ndarray, pd_floor: float) -> Floats:
    """Return the PD of each account: at least `pd_floor`, and 1 for an account in default.

    Args:
        calibrated: the PD of each account from the calibrated model. It is ignored for accounts in default.
        in_default: whether each account is in default.
        pd_floor: the lowest PD that an account may have, from the policy.
    """
    return np.where(in_default, 1.0, np.maximum(calibrated, pd_floor))
