"""The portfolio tables that are computed in Python: their names, sort keys, descriptions and columns."""

from collections.abc import Mapping

import polars as pl

# The published tables, with their sort keys.
TABLES: Mapping[str, tuple[str, ...]] = {
    "port_coverage": ("source", "subject"),
    "port_duration_matrix": ("source", "from_state", "to_state"),
    "port_expected_losses": ("source", "loan_id"),
    "port_grade_concentration": ("source",),
    "port_grade_moves": ("source", "from_grade", "to_grade"),
    "port_grades": ("source", "grade"),
    "port_loss_movement": ("source", "currency", "position"),
    "port_losses_given_default": ("source", "currency", "as_of_on"),
    "port_static_pools": ("source", "product", "currency", "cohort_on", "mob"),
}
DESCRIPTIONS: Mapping[str, str] = {
    "port_coverage": "Which portfolio figures a source does not have, and why.",
    "port_duration_matrix": "Arrears states after a year, from the times spent in them (generator and expm).",
    "port_expected_losses": "IFRS 9 stage with its trigger, and expected credit loss of every loan.",
    "port_grade_concentration": "Concentration of grades against the policy's limit, and how far loans moved.",
    "port_grade_moves": "Grades at the month-end before and at the newest.",
    "port_grades": "The book by grade, with capital and the price that covers the risk.",
    "port_loss_movement": "From the expected loss of the month-end before to the newest, by cause, to the cent.",
    "port_losses_given_default": "Loss given default, with open workouts extrapolated, or the policy's value and why.",
    "port_static_pools": "Cohorts' defaults: actual, expected, forecast, and the distance to the triggers.",
}

MONEY = pl.Decimal(18, 2)
_TEXT, _SHARE, _COUNT, _DAY = pl.String(), pl.Float64(), pl.Int32(), pl.Date()
_SCHEMAS: Mapping[str, Mapping[str, pl.DataType]] = {
    "port_coverage": dict.fromkeys(("source", "subject", "status", "reason"), _TEXT),
    "port_duration_matrix": {
        **dict.fromkeys(("source", "from_state", "to_state"), _TEXT),
        **dict.fromkeys(("intensity", "probability_12m"), _SHARE),
    },
    "port_expected_losses": {
        "source": _TEXT,
        "loan_id": _TEXT,
        "as_of_on": _DAY,
        "product": _TEXT,
        "currency": _TEXT,
        "stage": _COUNT,
        "trigger": _TEXT,
        "stage_before": _COUNT,
        "pd": _SHARE,
        "pd_basis": _TEXT,
        **dict.fromkeys(("pd_first", "pd_lifetime", "pd_lifetime_first", "loss_given_default"), _SHARE),
        "exposure_at_default": MONEY,
        "remaining_months": _COUNT,
        "annual_rate": _SHARE,
        "expected_loss": MONEY,
        "stressed_loss": MONEY,
    },
    "port_grade_concentration": {
        "source": _TEXT,
        "hhi": _SHARE,
        "largest_share": _SHARE,
        "status": _TEXT,
        "moved_loans": _COUNT,
        "bandwidth_up": _SHARE,
        "bandwidth_down": _SHARE,
    },
    "port_grade_moves": {
        "source": _TEXT,
        "from_grade": _TEXT,
        "to_grade": _TEXT,
        "loans": _COUNT,
        "share": _SHARE,
        "z": _SHARE,
    },
    "port_grades": {
        "source": _TEXT,
        "grade": _TEXT,
        "loans": _COUNT,
        "share": _SHARE,
        "balance": MONEY,
        "mean_pd": _SHARE,
        **dict.fromkeys(("risk_weight", "price", "agreed_rate"), _SHARE),
    },
    "port_loss_movement": {
        "source": _TEXT,
        "currency": _TEXT,
        "position": _COUNT,
        "component": _TEXT,
        "amount": MONEY,
        "loans": _COUNT,
    },
    "port_losses_given_default": {
        "source": _TEXT,
        "currency": _TEXT,
        "as_of_on": _DAY,
        "loss_given_default": _SHARE,
        "own": _SHARE,
        "extrapolated": _SHARE,
        "workouts": _COUNT,
        "why_policy": _TEXT,
    },
    "port_static_pools": {
        "source": _TEXT,
        "product": _TEXT,
        "currency": _TEXT,
        "cohort_on": _DAY,
        "mob": _COUNT,
        "month_on": _DAY,
        "loans": _COUNT,
        "default_loans": _COUNT,
        **dict.fromkeys(("default_rate", "expected_rate", "forecast_rate"), _SHARE),
        "forecast_to_mob": _COUNT,
        "p_worse": _SHARE,
        "p_jeffreys": _SHARE,
        "distance_to_amber": _SHARE,
        "distance_to_red": _SHARE,
        "status": _TEXT,
        "is_worse": pl.Boolean(),
    },
}


def empty(name: str) -> pl.DataFrame:
    """Return the table `name` without rows, with its columns and their types."""
    return pl.DataFrame(schema=_SCHEMAS[name])
