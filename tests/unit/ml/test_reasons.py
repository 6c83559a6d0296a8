"""Tests that the stated reasons of a score raise the risk, are true, and are complete."""

import polars as pl

from ml.features import by_name
from ml.reasons import FAMILIES, explain
from support.training import POLICY, book


def test_reasons_are_adverse_true_and_pass_the_direction_check(model):
    rows = book(800, 7)
    margin = model.fit.margin(rows)
    found = explain(model, rows, margin, POLICY.reasons)
    assert found.additivity_error < 1e-4
    codes = found.codes.to_dicts()
    families = {f.code: f for f in FAMILIES}
    stated = [(i, code) for i, row in enumerate(codes) for code in row.values() if code and code != "none"]
    assert len(stated) > 500
    for code in {c for _, c in stated}:
        at = [i for i, c in stated if c == code]
        assert rows[at].select(families[code].fact(model.reference, POLICY.reasons)).to_series().all(), code
        names = [f.name for f in by_name(model.fit.features) if f.family == code]
        typical = rows[at].with_columns(pl.lit(model.reference[n]).alias(n) for n in names)
        assert (margin[at] - model.fit.margin(typical) >= POLICY.reasons.min_margin_fall).all(), code
    # No account without arrears gets arrears as a reason.
    assert not {"RC01", "RC02"} & {c for i, c in stated if rows["max_dpd_6m"][i] == 0}


def test_what_a_reason_says_is_true_in_the_raw_columns(model):
    """Each reason code is true for the account, judged by the account's feature columns.

    The conditions are written out here from the wording of the reasons. They do not use the conditions in `FAMILIES`.
    """
    rows = book(3000, 11)
    codes = explain(model, rows, model.fit.margin(rows), POLICY.reasons).codes
    by_code = {
        c: rows.filter(pl.any_horizontal((codes[n] == c).fill_null(value=False) for n in codes.columns))
        for c in ("RC01", "RC02", "RC04", "RC13", "RC14")
    }
    assert by_code["RC01"].height and (by_code["RC01"]["dpd_now"] > 0).all()
    assert by_code["RC02"].height and (by_code["RC02"]["max_dpd_6m"] > 0).all()
    assert by_code["RC04"].height and (by_code["RC04"]["bill_amount"] / 1e4 >= 0.5).all(), "now, not some months ago"
    assert (by_code["RC13"]["pay_ratio_6m"] < 0.5).all() and (by_code["RC13"]["bill_amount"] > 0).all()
    assert (by_code["RC14"]["limit_amount"] < 1e5).all()


def test_every_account_has_reasons_or_a_stated_none(model):
    found = explain(model, book(800, 8), model.fit.margin(book(800, 8)), POLICY.reasons).codes
    assert found["reason_1"].null_count() == 0
    assert found.width == POLICY.reasons.max_reasons
    assert (found["reason_1"] == "none").any()
    none = found.filter(pl.col("reason_1") == "none")
    assert none["reason_2"].null_count() == none.height
