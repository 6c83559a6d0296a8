"""Checks of the training set: its labels are usable, and no borrower is in two of the blocks that must be separate."""

from expectations.suite import Check, Suite, between, no_row, not_null, one_of, unique


def suite(source: str, min_default_rate: float, max_default_rate: float) -> Suite:
    """Return the suite of checks for the training set of one source.

    `min_default_rate` and `max_default_rate` come from the policy. The share of defaults among the labels must be
    between them.
    """
    # The block oot may share borrowers with others: its observations are later than all that the model was fitted on.
    in_two_blocks = (
        "block <> 'oot' and borrower_id in (select borrower_id from {batch}"
        " where block <> 'oot' group by borrower_id having count(distinct block) > 1)"
    )
    return Suite(
        f"training_set_{source}",
        "training_set",
        (
            unique("source", "loan_id", "month_on"),
            *(not_null(c) for c in ("borrower_id", "bucket", "block", "in_default")),
            one_of("label", (0, 1)),
            one_of("block", ("train", "val", "cal", "oos", "oot")),
            between("bucket", 0, 99),
            Check(
                "ExpectColumnMeanToBeBetween",
                {"column": "label", "min_value": min_default_rate, "max_value": max_default_rate},
                advice="the default rate is outside the policy's plausible range: check the labels",
            ),
            no_row("borrower__on_one_side", in_two_blocks, "a borrower is in two blocks: the split leaks"),
            no_row(
                "label__if_usable",
                "label is null and exclusion_reason is null",
                "an observation without an outcome counts as usable for training: check label_loan_months",
            ),
            no_row(
                "excluded__if_in_default",
                "in_default and exclusion_reason is null",
                "an account in default counts as usable for training: check label_loan_months",
            ),
        ),
    )
