"""Checks of the feature mart: each feature is in the range that its definition allows.

The keys of the mart are not checked here, because dbt tests check them.
"""

from expectations.suite import Suite, between, no_row, some_rows

_RANGES: dict[str, tuple[float, float | None]] = {
    "dpd_now": (0, None),
    "max_dpd_3m": (0, None),
    "max_dpd_6m": (0, None),
    "max_dpd_12m": (0, None),
    "cnt_dpd1_6m": (0, 6),
    "cnt_dpd30_6m": (0, 6),
    "cnt_dpd60_6m": (0, 6),
    "cnt_dpd30_12m": (0, 12),
    "months_since_dpd1": (0, 99),
    "months_since_dpd30": (0, 99),
    "roll_up_6m": (0, 6),
    "pay_ratio_3m": (0, 3),
    "pay_ratio_6m": (0, 3),
    "pay_ratio_12m": (0, 3),
    "min_pay_ratio_6m": (0, 3),
    "full_pay_streak": (0, 12),
    "util_now": (0, 1.5),
    "util_mean_3m": (0, 1.5),
    "util_mean_6m": (0, 1.5),
    "util_mean_12m": (0, 1.5),
    "util_trend_6m": (-1.5, 1.5),
    "util_3m_over_6m": (0, 2),
    "mob": (0, None),
    "bal_to_orig": (0, 2),
    "annual_rate": (0, None),
    "limit_amount": (0, None),
    **{f"pay_status_{k}": (-2, 9) for k in range(6)},
    # amounts paid have no bound: in a ledger, a month may have more reversals than payments
}


def suite() -> Suite:
    """Return the suite of checks for the table `feat_loan_months`."""
    return Suite(
        "features",
        "feat_loan_months",
        (
            some_rows(),
            no_row(
                "windows_grow__dpd",
                "max_dpd_3m > max_dpd_6m or max_dpd_6m > max_dpd_12m or dpd_now > max_dpd_3m",
                "a longer window has a smaller maximum: the history's ages are wrong",
            ),
            *(between(name, low, high) for name, (low, high) in _RANGES.items()),
        ),
    )
