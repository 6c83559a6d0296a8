"""Tests of which files in the landing folder are ready for ingestion and which are not complete yet."""

import datetime as dt
from dataclasses import replace

import pytest

from dagster_project.ingestion.lake.landing import Landed, LandingError, land_folder, land_packaged, unfinished, waiting
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


def handed_in(folder, files):
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder


def landed_in(context):
    return {p.name: p.read_text() for p in sorted((context.landing / "simulated").iterdir())}


def test_every_file_of_a_folder_is_copied_or_named(context, tmp_path):
    files = {
        "payments-1.csv": "a",
        "payments-1.csv.done": "{}",
        "old/payments-2.csv": "b",
        "again/payments-1.csv": "a",
        "notes.txt": "n",
        "Payments-3.csv": "c",
        "payments-9.csv.done": "{}",
        ".hidden.csv": "h",
    }
    assert land_folder(SIMULATED, context, handed_in(tmp_path / "in", files)) == Landed(
        copied=["payments-1.csv", "payments-2.csv"],
        repeated=["payments-1.csv"],
        passed_over=["Payments-3.csv", "notes.txt", "payments-9.csv.done"],
    )
    assert landed_in(context) == {"payments-1.csv": "a", "payments-1.csv.done": "{}", "payments-2.csv": "b"}


@pytest.mark.parametrize("name", ["payments-1.csv", "payments-1.CSV"])
def test_file_never_replaces_another_one(context, tmp_path, name):
    two = {"one/payments-1.csv": "a", "two/payments-1.csv": "b", "payments-3.csv": "c"}
    folder = handed_in(tmp_path / "in", two)
    with pytest.raises(LandingError, match=r"two/payments-1\.csv was not copied, because .* comes with it: rename"):
        land_folder(SIMULATED, context, folder)
    assert landed_in(context) == {}, "nothing was copied"
    (folder / "two/payments-1.csv").unlink()
    (context.landing / "simulated" / name).write_text("waiting")
    with pytest.raises(LandingError, match="other content waits: run `creditloom night` first, or rename"):
        land_folder(SIMULATED, context, folder)
    assert landed_in(context) == {name: "waiting"}


def test_another_manifest_for_a_waiting_file_is_refused(context, tmp_path):
    files = {"payments-1.csv": "a", "payments-1.csv.done": '{"rows": 1}'}
    land_folder(SIMULATED, context, handed_in(tmp_path / "in", files))
    with pytest.raises(LandingError, match=r"payments-1\.csv\.done was not copied"):
        land_folder(SIMULATED, context, handed_in(tmp_path / "in", files | {"payments-1.csv.done": '{"rows": 2}'}))


def test_same_file_may_be_landed_again(context, tmp_path):
    folder = handed_in(tmp_path / "in", {"payments-1.csv": "a"})
    assert land_folder(SIMULATED, context, folder).copied == ["payments-1.csv"]
    assert land_folder(SIMULATED, context, folder) == Landed([], ["payments-1.csv"], [])
