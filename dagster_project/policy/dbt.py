"""The function that passes values of the policy to dbt as variables."""

from typing import Any

from dagster_project.policy.model import Policy
from dagster_project.portfolio.arrears import ARREARS_STATES, DPD_MAX, ENDED_STATES

# The keys of `portfolio` that the marts need. The other keys are applied to scores, after dbt.
_PORTFOLIO_IN_SQL = (
    *("matrix_months", "dpd_bad", "forborne_months", "risk_classes", "provision_rates"),
    *("exposure", "loss", "limits"),
)


def dbt_vars(policy: Policy) -> dict[str, Any]:
    """Return the variables that dbt's models need, by name: values of the policy, and the arrears states.

    The same policy always gives the same variables, so that dbt does not need to parse its project again.
    """
    names = (
        *("arrears_basis", "feature_lag_days", "label_horizon_months", "observe_from_month"),
        *("default_dpd_min", "default_arrears_min"),
        *("default_status_min", "write_off_min", "deferral_from", "deferral_to", "tier1_capital"),
    )
    sources = {name: s.model_dump(mode="json", include=set(names)) for name, s in policy.sources.items()}
    by_source = {name: {source: values[name] for source, values in sources.items()} for name in names}
    thresholds = {name: policy.defaults.thresholds[s.portfolio_type] for name, s in policy.sources.items()}
    return by_source | {
        "materiality_amount": {name: least.materiality_amount for name, least in thresholds.items()},
        "materiality_share": {name: least.materiality_share for name, least in thresholds.items()},
        "value_lost_max": {name: least.value_lost_max for name, least in thresholds.items()},
        "defaults": policy.defaults.model_dump(mode="json", include={"cure"}),
        "portfolio": policy.portfolio.model_dump(mode="json", include=set(_PORTFOLIO_IN_SQL)),
        "arrears_states": ARREARS_STATES,
        "arrears_dpd_max": DPD_MAX,
        "ended_states": ENDED_STATES,
        "suspense_days": policy.ingestion.suspense_days,
        "overpaid_min": policy.ingestion.overpaid_min,
    }
