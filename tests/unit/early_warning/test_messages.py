"""Tests of the messages that report a change of state."""

from dagster_project.early_warning.evaluate import evaluate
from dagster_project.early_warning.messages import changes, newest
from support.warning_figures import POLICY, series


def test_a_message_names_segment_figures_owner_and_what_to_do():
    history = evaluate(series([200] * 20 + [300]), POLICY)
    (message,) = changes(history, {}, POLICY)
    assert message.body["text"] == (
        "RED (was green): share 30+ days past due, loan (product) of lender. 2021-09: 3.00% of 10,000 accounts, 2.00% "
        "in the months before: 1.50 times (amber from 1.20 times, red from 1.40 times). Owner: team:credit-risk. "
        "Tell the head of credit risk today; decide on new lending in the segment."
    )
    assert message.body["state"] == "red" and message.body["since"] == "2021-09-30"
    assert newest(history).filter(segment="loan")["state"].to_list() == ["red"]
