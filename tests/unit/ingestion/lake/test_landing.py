"""Tests of which files in the landing folder are ready for ingestion and which are not complete yet."""

import datetime as dt
from dataclasses import replace

from dagster_project.ingestion.lake.landing import land_packaged, unfinished, waiting
from dagster_project.ingestion.lake.receipts import State
from support.cards import CARDS
from support.simulated_files import SIMULATED, drop_file, ingest_waiting, payment


def test_replayed_day_sees_only_what_had_arrived(pipeline):
    """A replay of a day finds only the files that had arrived by that day.

    The name of a tape contains its month. The contract defines when the tape of a month arrives: the tape of May 2017
    arrives on 15 June 2017. Without a day, all files are found.
    """
    source, folder = pipeline.sources["ally_auto"], pipeline.ingest_context.landing / "ally_auto"
    folder.mkdir(parents=True)
    for name in ("loans.csv", "2017-05.csv", "2017-06.csv"):
        (folder / name).touch()
    assert source.contract.arrives_on("2017-05.csv") == dt.date(2017, 6, 15)
    assert source.contract.arrives_on("2017-13.csv") is None
    names = lambda on: [p.name for p in waiting(source, pipeline.ingest_context, on)]
    assert names(dt.date(2017, 6, 14)) == ["loans.csv"]
    assert names(dt.date(2017, 6, 15)) == ["2017-05.csv", "loans.csv"]
    assert names(None) == ["2017-05.csv", "2017-06.csv", "loans.csv"]


def test_users_own_file_goes_before_the_packaged_one(pipeline, drop, cards):
    card_file, line = cards
    path = drop(pipeline, "UCI_Credit_card.csv", card_file(line(1)))
    assert not land_packaged(CARDS, pipeline.ingest_context)
    assert path.stat().st_size < 1000


def test_file_waits_for_the_manifest_that_its_contract_asks_for(context):
    layouts = tuple(replace(t, manifest=t.name == "payments_file") for t in SIMULATED.contract.layouts)
    source = replace(SIMULATED, contract=replace(SIMULATED.contract, layouts=layouts))
    drop_file(context, "payments-2024-01-01.csv", payment(1))
    path = context.landing / "simulated/payments-2024-01-01.csv"
    assert ingest_waiting(context, source) == []
    assert unfinished(source, context) == [path] and waiting(source, context) == []
    path.with_name(path.name + ".done").write_text('{"rows": 1, "control_total": 5}')
    (receipt,) = ingest_waiting(context, source)
    assert receipt.state is State.ACCEPTED
    assert not list((context.landing / "simulated").iterdir())
