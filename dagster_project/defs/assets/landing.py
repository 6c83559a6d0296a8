"""The assets for delivered files, partitioned by landing day, and the intake of these files.

A night takes in all files in the landing folder. A backfill takes in only the files of the chosen days.
"""

from collections import Counter, defaultdict
from datetime import date

import dagster as dg

from dagster_project.defs.asset_keys import landing_asset
from dagster_project.defs.event_log import batch_of_events
from dagster_project.defs.partitions import add_landing_days, landing_day_partitions
from dagster_project.defs.resources import NIGHT
from dagster_project.ingestion.contracts.source import Source
from dagster_project.ingestion.intake import ingest
from dagster_project.ingestion.lake.landing import land_packaged, landing_day, waiting
from dagster_project.ingestion.lake.receipts import Receipt, State
from dagster_project.night.pipeline import Pipeline

_LOGGED = 100


def build_landing_asset(source: Source, owner: str) -> dg.AssetsDefinition:
    """Return the asset for the delivered files of a source, with one partition per landing day.

    Materializing a partition takes in the files of its day. A night does not materialize this asset. Instead, the step
    that fills the raw tables takes in the files and reports the partitions as materialized.
    """

    @dg.asset(
        key=dg.AssetKey(landing_asset(source.name)),
        partitions_def=landing_day_partitions(source.name),
        group_name="landing",
        required_resource_keys={NIGHT},
        kinds={"file"},
        owners=[owner],
        description=f"{source.contract.title}: the delivered files, by the day on which they landed.",
    )
    def _landing(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        pipeline: Pipeline = context.resources.night
        day = date.fromisoformat(context.partition_key)
        committed = take_in(context, pipeline, source, {day})[day]
        before = [r for r in pipeline.receipts(source.name) if source.contract.arrives_on(r.file_name) == day]
        if not committed and not before:
            raise dg.Failure(
                f"no file of {source.name} landed on {day}: none is in the landing folder, and none was taken in before"
            )
        return dg.MaterializeResult(metadata=_figures(before or committed))

    return _landing


def take_in(
    context: dg.AssetExecutionContext, pipeline: Pipeline, source: Source, days: set[date] | None = None
) -> dict[date, list[Receipt]]:
    """Take in the landed files of a source for the given landing days, or for all days if `days` is None.

    If the source's data file comes with a Python package and has not been taken in yet, it is first copied into the
    landing folder. Partitions are added for the landing days of the files. Files that were not accepted completely are
    logged as warnings.

    Returns:
        The receipts of the files by landing day. Days without files are missing, but looking them up gives an empty
        list.
    """
    land_packaged(source, pipeline.ingest_context)
    landed_on = {p.name: landing_day(source, p) for p in waiting(source, pipeline.ingest_context, pipeline.on)}
    committed: dict[date, list[Receipt]] = defaultdict(list)
    receipts = ingest(source, pipeline.ingest_context, pipeline.now(), pipeline.on, days)
    for receipt in receipts:
        committed[landed_on[receipt.file_name]].append(receipt)
    # Accepted files are only counted: a thousand log lines would take longer than reading the files, and hide the rest.
    for receipt in [r for r in receipts if r.state is not State.ACCEPTED][:_LOGGED]:
        context.log.warning(_describe(receipt))
    if receipts:
        context.log.info(f"{source.name}: {_counted(receipts)}")
    add_landing_days(context.instance, source.name, committed)
    return committed


def fill_partitions(context: dg.AssetExecutionContext, source: Source, committed: dict[date, list[Receipt]]) -> None:
    """Report to Dagster that the partitions of the given landing days are materialized.

    `committed` contains the receipts of the files that a night took in, by landing day.
    """
    with batch_of_events(context.instance):
        for day, receipts in committed.items():
            context.log_event(
                dg.AssetMaterialization(
                    dg.AssetKey(landing_asset(source.name)), partition=day.isoformat(), metadata=_figures(receipts)
                )
            )


def _figures(receipts: list[Receipt]) -> dict[str, int | str]:
    counts = {
        outcome: sum(getattr(r, f"{outcome}_rows") for r in receipts)
        for outcome in ("landed", "accepted", "quarantined", "duplicate")
    }
    return {
        "dagster/partition_row_count": counts["accepted"],
        **{f"{outcome} lines": count for outcome, count in counts.items()},
        "files": ", ".join(sorted(r.file_name for r in receipts)),
    }


def _counted(receipts: list[Receipt]) -> str:
    states = Counter(r.state for r in receipts)
    return f"{len(receipts):,} files: " + ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))


def _describe(receipt: Receipt) -> str:
    return (
        f"{receipt.file_name}: {receipt.state}; {receipt.landed_rows} landed = {receipt.accepted_rows} accepted"
        f" + {receipt.quarantined_rows} quarantined + {receipt.duplicate_rows} duplicate"
        + (f" ({receipt.reason})" if receipt.reason else "")
    )
