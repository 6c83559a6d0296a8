"""Checks of the portfolio tables that are computed in Python.

They check the stages and their triggers, the losses, and that amounts and probabilities add up.
"""

from expectations.suite import Suite, between, no_row, not_null, one_of, unique

_UNBALANCED = (
    "select source, currency from {batch} group by source, currency"
    " having sum(case when component = 'closing' then -amount else amount end) <> 0"
)
_NOT_ONE = (
    "select source, from_state from {batch} group by source, from_state having abs(sum(probability_12m) - 1) > 1e-6"
)


def suites() -> tuple[Suite, ...]:
    """Return the suites of checks, one per table. Each suite has the name of its table."""
    return (
        Suite(
            "port_expected_losses",
            "port_expected_losses",
            (
                unique("source", "loan_id"),
                *(not_null(c) for c in ("as_of_on", "stage", "trigger", "pd", "loss_given_default", "expected_loss")),
                one_of("stage", (1, 2, 3)),
                between("expected_loss", 0, None),
                between("loss_given_default", 0, 1),
                no_row(
                    "stage__has_its_trigger",
                    "(stage = 3) <> (trigger = 'default') or (stage = 1) <> (trigger = 'none')",
                    "a stage and the trigger that is stored for it disagree",
                ),
                no_row(
                    "stage__not_from_3_to_1",
                    "stage_before = 3 and stage = 1",
                    "a loan went from default to stage 1 without the policy's probation",
                ),
                no_row(
                    "expected_loss__not_above_exposure",
                    "expected_loss > exposure_at_default + 0.01",
                    "an expected loss is above the exposure: check hazards, exposures and loss given default",
                ),
            ),
        ),
        Suite(
            "port_loss_movement",
            "port_loss_movement",
            (
                unique("source", "currency", "position"),
                no_row(
                    "movement__adds_up",
                    f"(source, currency) in ({_UNBALANCED})",
                    "opening and the components do not add up to the closing: a step was left out or counted twice",
                ),
            ),
        ),
        Suite(
            "port_duration_matrix",
            "port_duration_matrix",
            (
                unique("source", "from_state", "to_state"),
                between("probability_12m", 0, 1),
                no_row(
                    "probabilities__add_up_to_1",
                    f"(source, from_state) in ({_NOT_ONE})",
                    "a row of the matrix does not add up to 1",
                ),
            ),
        ),
    )
