"""Tests that a compressed file is treated as the file inside it."""

import datetime as dt
import gzip
import zipfile

from dagster_project.ingestion.lake.receipts import State
from support.simulated_files import SIMULATED, accepted, drop_file, ingest_waiting, payment


def test_packed_and_renamed_it_is_the_same_delivery(context):
    drop_file(context, "payments-2024-01-01.csv", payment(1), payment(2))
    folder = context.landing / "simulated"
    content = (folder / "payments-2024-01-01.csv").read_bytes()
    (folder / "payments-2024-01-02.csv.gz").write_bytes(gzip.compress(content))
    (folder / "payments-2024-01-03.csv.gz").write_bytes(gzip.compress(content, 1))
    with zipfile.ZipFile(folder / "payments-2024-01-04.csv.zip", "w") as archive:
        archive.writestr("inside.csv", content)
    receipts = ingest_waiting(context)
    assert [r.state for r in receipts] == [State.ACCEPTED, *[State.DUPLICATE] * 3]
    assert {r.sha256 for r in receipts} == {receipts[0].sha256}
    assert accepted(context) == {"1": 5, "2": 5}
    day = SIMULATED.contract.arrives_on("payments-2024-01-02.csv.gz")
    assert day == dt.date(2024, 1, 2), "the landing day is the unpacked name's"
