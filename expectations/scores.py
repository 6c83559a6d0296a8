"""Checks of the scores: values are in range, and PD, score, grade and default flag agree with each other."""

from expectations.suite import Suite, between, no_row, not_null, one_of, some_rows, unique

# Accounts with a higher score than an account of the same source whose PD is lower or equal.
_RISEN = (
    "select source, loan_id from (select source, loan_id, score > min(score) over"
    " (partition by source order by pd rows between unbounded preceding and 1 preceding) as risen from {batch}) as r"
    " where risen"
)


def suite(
    score_min: int,
    score_max: int,
    pd_floor: float,
    grades: tuple[str, ...],
    default_grade: str,
    reasons: tuple[str, ...],
    max_reasons: int,
) -> Suite:
    """Return the suite of checks for the scores of all sources.

    Args:
        score_min: the lowest score that the policy allows.
        score_max: the highest score that the policy allows.
        pd_floor: the lowest PD that a loan can have.
        grades: all grades of the master scale, without the default grade.
        default_grade: the grade of loans in default.
        reasons: the reason codes that the columns `reason_1`, `reason_2` and so on may contain.
        max_reasons: the number of reason columns.
    """
    behind_a_gap = [f"(reason_{n} is not null and reason_{n - 1} is null)" for n in range(3, max_reasons + 1)]
    if max_reasons > 1:
        behind_a_gap.insert(0, "(reason_2 is not null and reason_1 = 'none')")
    return Suite(
        "scores",
        "scores",
        (
            some_rows(),
            unique("source", "loan_id"),
            *(not_null(c) for c in ("as_of_on", "pd", "score", "grade", "band", "reason_1", "model_version")),
            between("pd", pd_floor, 1),
            between("score", score_min, score_max),
            one_of("grade", (*grades, default_grade)),
            *(one_of(f"reason_{place}", reasons) for place in range(1, max_reasons + 1)),
            no_row(
                "default_grade__if_in_default",
                f"(grade = '{default_grade}') <> in_default or (in_default and pd < 1)",
                "the default grade and the default flag disagree",
            ),
            no_row(
                "score__falls_with_pd",
                f"(source, loan_id) in ({_RISEN})",
                "an account with a higher PD has a better score than one with a lower PD: the scale is broken",
            ),
            no_row(
                "reasons__in_order",
                " or ".join(behind_a_gap) or "false",
                "a reason follows an empty reason column",
            ),
        ),
    )
