"""Tests of the outbox: each change of state gets exactly one message, even if sending fails or the process crashes."""

import json
import sqlite3
from datetime import datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_project.early_warning.channels import LogChannel, WebhookChannel
from dagster_project.early_warning.evaluate import evaluate
from dagster_project.early_warning.messages import changes
from dagster_project.early_warning.outbox import Outbox
from dagster_project.early_warning.rules import State
from support.warning_figures import POLICY, month, series

NOW = datetime(2026, 1, 2, 2)
RISES = [200] * 20 + [260, 300, 300, 200, 200, 200, 200, 200]  # amber, red, red, red, amber, amber, green, green


def night(box: Outbox, history: pl.DataFrame, channels=(), now=NOW):
    """Write the messages that are due and send all waiting messages, as a night does after it has published.

    Return the new messages and the result of sending.
    """
    made = box.write(lambda reported: changes(history, reported, POLICY), [c.name for c in channels], now)
    return made, box.send(channels, now)


def histories(hits):
    """Return the history that each monthly night would compute, as a list.

    The first night in the list has 19 months of figures. Earlier nights have too few months to judge.
    """
    return [evaluate(series(hits[:n]), POLICY) for n in range(19, len(hits) + 1)]


def test_one_message_a_change_and_not_one_a_night(tmp_path, receiver):
    box, channels = (
        Outbox(tmp_path / "outbox.sqlite"),
        [LogChannel(tmp_path / "w.jsonl"), WebhookChannel(receiver.address, 5)],
    )
    for history in histories(RISES):
        night(box, history, channels)
        assert night(box, history, channels) == ([], night(box, history, channels)[1]), "the same night again: nothing"
    moves = [("green", "amber"), ("amber", "red"), ("red", "amber"), ("amber", "green")]
    assert [(body["previous_state"], body["state"]) for _, body in receiver.got] == moves
    assert [key for key, _ in receiver.got] == [body["message_id"] for _, body in receiver.got]
    lines = [json.loads(line) for line in (tmp_path / "w.jsonl").read_text().splitlines()]
    assert lines == [body for _, body in receiver.got]
    assert [line["month_on"] for line in lines] == [str(month(n)) for n in (20, 21, 24, 26)]
    assert box.waiting() == []


@settings(max_examples=30)
@given(st.lists(st.sampled_from([200, 260, 300, None]), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_last_message_gives_the_current_state(tmp_path_factory, later, random):
    """The last message reports the current state, whatever the figures are, and however often each night runs.

    Some nights do not run, and others run twice. If the current state is amber or red, the last message reports it. If
    it is another state, the last message does not report amber or red. Each change to, from or between amber and red is
    reported once.
    """
    box = Outbox(tmp_path_factory.mktemp("box") / "outbox.sqlite")
    seen = [h for h in histories([200] * 19 + later + [200]) for _ in range(random.randint(0, 2))]
    changed, before, reported = 0, "green", box.reported()
    for history in seen:
        made, _ = night(box, history)
        state = history.filter(segment="loan").row(-1, named=True)["state"]
        assert len(made) <= 1
        reported = [t.state for t in box.reported().values()]
        if state in ("amber", "red"):
            assert reported == [State(state)]
        else:
            assert not {"amber", "red"} & set(reported)
        changed += state != before and bool({"amber", "red"} & {state, before})
        before = state
    with sqlite3.connect(box._path) as db:
        assert db.execute("select count(*) from messages").fetchone() == (changed,)


def test_a_late_row_takes_a_warning_back(tmp_path):
    box = Outbox(tmp_path / "outbox.sqlite")
    night(box, evaluate(series([200] * 20 + [300]), POLICY))
    ((back,), _) = night(box, evaluate(series([200] * 21), POLICY))
    assert (back.previous, back.state) == (State.RED, State.GREEN)
    ((again,), _) = night(box, evaluate(series([200] * 20 + [300]), POLICY))
    assert again.state is State.RED and len({back.message_id, again.message_id}) == 2


def test_webhook_that_fails_waits_for_the_next_night(tmp_path, receiver):
    """Messages that the webhook did not accept are sent again in later rounds, once each and in order.

    The webhook answers the first attempt with status 500 and closes the connection at the second. The third attempt
    sends both waiting messages. The log channel has already accepted them and does not get them again.
    """
    receiver.answers = [500, None, 200]
    box, log, hook = (
        Outbox(tmp_path / "o.sqlite"),
        LogChannel(tmp_path / "w.jsonl"),
        WebhookChannel(receiver.address, 5),
    )
    steps = histories(RISES)[1:4]
    _, sent = night(box, steps[0], [log, hook])
    assert (sent.taken, sent.failed) == ({"log": 0, "webhook": 0}, {})
    _, sent = night(box, steps[1], [log, hook])
    assert (sent.taken, sent.failed) == ({"log": 1, "webhook": 0}, {"webhook": "it answered 500"})
    _, sent = night(box, steps[2], [log, hook])
    assert sent.taken == {"log": 1, "webhook": 0} and "cannot be reached" in sent.failed["webhook"]
    assert len(box.waiting("webhook")) == 2 and box.waiting("log") == []
    assert box.send([log, hook], NOW).taken == {"log": 0, "webhook": 2}
    assert [body["state"] for _, body in receiver.got] == ["amber", "red"]
    with sqlite3.connect(tmp_path / "o.sqlite") as db:
        found = db.execute("select attempts, last_error, sent_at is not null from deliveries where channel = 'webhook'")
        assert found.fetchall() == [(3, None, 1), (1, None, 1)]


class Dies(Exception):
    """An exception that tests raise to simulate a crash of the process."""


def test_a_crash_between_sending_and_marking_loses_nothing_and_writes_nothing_twice(tmp_path, receiver, monkeypatch):
    box, channels = (
        Outbox(tmp_path / "o.sqlite"),
        [LogChannel(tmp_path / "w.jsonl"), WebhookChannel(receiver.address, 5)],
    )
    history = evaluate(series([200] * 20 + [300]), POLICY)

    def die(*args):
        raise Dies

    for channel in channels:
        with monkeypatch.context() as patch:
            patch.setattr(Outbox, "_record_attempt", die)
            with pytest.raises(Dies):
                night(box, history, channels)
        box.send(channels[:1], NOW)
        assert channel is channels[1] or len(receiver.got) == 0
    made, sent = night(box, history, channels)
    assert made == [] and sent.taken == {"log": 0, "webhook": 1}
    assert len((tmp_path / "w.jsonl").read_text().splitlines()) == 1
    assert len({key for key, _ in receiver.got}) == 1 and len(receiver.got) == 2, "again, under the same id"


def test_a_crash_before_the_commit_leaves_nothing(tmp_path):
    box, history = Outbox(tmp_path / "o.sqlite"), evaluate(series([200] * 20 + [300]), POLICY)

    def dies(reported):
        changes(history, reported, POLICY)
        raise Dies

    with pytest.raises(Dies):
        box.write(dies, ["log"], NOW)
    assert box.reported() == {} and box.waiting() == []


def test_half_a_line_is_rewritten(tmp_path):
    log = LogChannel(tmp_path / "w.jsonl")
    log.send("1", '{"message_id": "1"}')
    with (tmp_path / "w.jsonl").open("a") as handle:
        handle.write('{"message_id": "2", "sou')
    log.send("2", '{"message_id": "2", "source": "x"}')
    lines = (tmp_path / "w.jsonl").read_text().splitlines()
    assert [json.loads(line)["message_id"] for line in lines] == ["1", "2"]


def test_a_channel_that_comes_later_is_not_sent_what_was(tmp_path, receiver):
    box, log = Outbox(tmp_path / "o.sqlite"), LogChannel(tmp_path / "w.jsonl")
    night(box, evaluate(series([200] * 20 + [300]), POLICY), [log])
    assert box.send([log, WebhookChannel(receiver.address, 5)], NOW).taken == {"log": 0, "webhook": 0}
    assert receiver.got == []


def test_sent_messages_cannot_be_changed(tmp_path):
    box = Outbox(tmp_path / "o.sqlite")
    night(box, evaluate(series([200] * 20 + [300]), POLICY))
    for statement in ("update messages set body = ''", "delete from messages"):
        with (
            sqlite3.connect(tmp_path / "o.sqlite") as db,
            pytest.raises(sqlite3.IntegrityError, match="append-only"),
        ):
            db.execute(statement)
