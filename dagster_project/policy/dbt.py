"""The policy's values as variables of dbt."""

from typing import Any

from dagster_project.policy.model import Policy

# What the portfolio's marts are made with; the rest of its policy stands on scores and is no matter of dbt.
_PORTFOLIO_IN_SQL = (
    *("matrix_months", "dpd_bad", "forborne_months", "risk_classes", "provision_rates"),
    *("exposure", "loss", "limits"),
)


def dbt_vars(policy: Policy) -> dict[str, Any]:
    """The policy values that dbt's models need. The same policy gives the same text, so dbt parses once."""
    names = (
        *("arrears_basis", "feature_lag_days", "label_horizon_months", "observe_from_month"),
        *("default_dpd_min", "default_arrears_min"),
        *("default_status_min", "write_off_min", "deferral_from", "deferral_to", "tier1_capital"),
    )
    sources = {name: s.model_dump(mode="json", include=set(names)) for name, s in policy.sources.items()}
    by_source = {name: {source: values[name] for source, values in sources.items()} for name in names}
    thresholds = {name: policy.defaults.thresholds[s.portfolio_type] for name, s in policy.sources.items()}
    return by_source | {
        "default_amount_min": {name: least.amount for name, least in thresholds.items()},
        "default_share_min": {name: least.share for name, least in thresholds.items()},
        "default_value_lost": {name: least.value_lost for name, least in thresholds.items()},
        "defaults": policy.defaults.model_dump(mode="json", include={"cure"}),
        "portfolio": policy.portfolio.model_dump(mode="json", include=set(_PORTFOLIO_IN_SQL)),
        "suspense_days": policy.ingestion.suspense_days,
        "overpaid_min": policy.ingestion.overpaid_min,
    }
