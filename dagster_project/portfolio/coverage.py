"""A table of the portfolio figures that a source lacks, with the reasons.

Its purpose is that nobody takes a missing figure for zero.
"""

from collections.abc import Mapping

import polars as pl

AVAILABLE, SHORT, NONE = "available", "short", "none"
_SCHEMA = {"source": pl.String(), "subject": pl.String(), "status": pl.String(), "reason": pl.String()}


def coverage(
    source: str,
    rows: Mapping[str, int],
    *,
    is_dated: bool,
    months: int,
    moves: int,
    matrix_months: int,
    forecasts: int,
    why_policy_loss: str | None,
    why_no_expected_loss: str | None,
) -> pl.DataFrame:
    """Return which portfolio figures are available for a source: one row per subject.

    The columns are source, subject, status and reason. The status is `available`; `short` if the history is too short
    for the complete figure; or `none` if there is no figure. The reason is null for `available`.

    Args:
        source: the name of the source.
        rows: the number of the source's rows in each mart, by name of the mart.
        is_dated: whether the source delivers the opening dates of its loans.
        months: number of month-ends that the source has reported.
        moves: number of months whose changes of state are counted in the transition matrix.
        matrix_months: number of such months that the policy requires.
        forecasts: number of rows of the static pools that have a forecast.
        why_policy_loss: why the loss given default is the policy's value; None if it was measured from workouts.
        why_no_expected_loss: why there is no expected loss; None if there is one.
    """
    undated = (NONE, "the source does not say when a loan was opened, so there is no cohort")
    found: dict[str, tuple[str, str | None]] = {
        "vintages": (AVAILABLE, None) if rows["port_vintages"] else undated,
        "roll_rates": (AVAILABLE, None),
        "transitions": (AVAILABLE, None),
        "static_pools": (AVAILABLE, None),
        "loss_given_default": (AVAILABLE, None),
        "expected_loss": (AVAILABLE, None),
        "client_money": (AVAILABLE, None),
    }
    if not rows["port_vintages"] and (is_dated or not months):
        found["vintages"] = (NONE, "no loan has a whole month yet")
    if not rows["port_roll_rates"]:
        found["roll_rates"] = found["transitions"] = (NONE, f"{months} month-ends were delivered; two are needed")
    elif moves < matrix_months:
        found["transitions"] = (SHORT, f"moves of {moves} months were delivered; the matrix needs {matrix_months}")
    if not rows["port_vintages"]:
        found["static_pools"] = found["vintages"]
    elif not forecasts:
        found["static_pools"] = (SHORT, "no cohort can be compared with another that has reached its age")
    if why_policy_loss:
        found["loss_given_default"] = (SHORT, f"the policy's value is used: {why_policy_loss}")
    if why_no_expected_loss:
        found["expected_loss"] = (NONE, why_no_expected_loss)
    if not rows["port_client_money"]:
        found["client_money"] = (NONE, "the source delivers no account of client money")
    listed = [(source, subject, status, reason) for subject, (status, reason) in found.items()]
    return pl.DataFrame(listed, schema=_SCHEMA, orient="row")
