"""`Pipeline`: settings, policy, sources and extra checks in one object that every step receives. No Dagster."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cached_property
from pathlib import Path

import duckdb

from dagster_project.home.disk_space import check_disk_space
from dagster_project.home.settings import PROJECT_ROOT, Settings
from dagster_project.home.version import check_home
from dagster_project.ingestion.contracts.source import Source, load_sources, own_contracts
from dagster_project.ingestion.lake.context import IngestContext, check_clock
from dagster_project.ingestion.lake.landing import waiting
from dagster_project.ingestion.lake.receipts import TAKEN_IN, Receipt
from dagster_project.keys.master import load_keys
from dagster_project.keys.store import KeyStore
from dagster_project.policy import Policy, PolicyError, load_policy, problem_at
from dagster_project.snapshots.fingerprint import code_fingerprint
from dagster_project.snapshots.snapshot import current_snapshot
from expectations.suite import Check
from ml.promote import Decision, PromotionLedger
from ml.registry import Registry

MARTS = "marts"  # the schema of the marts in the warehouse
NIGHT_HOUR = time(2)


@dataclass(frozen=True)
class Pipeline:
    """The data that the steps of one code location share.

    `on`: the day that a replayed night treats as today; None for a normal night. `known_as_of`: the instant (UTC,
    without zone) up to which a rebuilt night sees deliveries and decisions; None for a night that is not a rebuild. A
    rebuild ingests nothing and does not replace the current snapshot. `intake`: if False, the night builds on the lake
    as it is, and files stay in the landing folders. `only`: ingest files of these sources only; None for all sources.
    """

    settings: Settings
    policy: Policy
    sources: Mapping[str, Source]
    extra_checks: Mapping[str, tuple[Check, ...]]
    on: date | None = None
    known_as_of: datetime | None = None
    intake: bool = True
    only: frozenset[str] | None = None

    def takes_in(self, source: str) -> bool:
        """Whether this night ingests the landed files of a source."""
        return self.intake and self.known_as_of is None and (self.only is None or source in self.only)

    def now(self) -> datetime:
        """The night's clock in UTC, without zone: 02:00 of the replayed day, or the real time."""
        return datetime.combine(self.on, NIGHT_HOUR) if self.on else datetime.now(UTC).replace(tzinfo=None)

    def check_clock(self) -> None:
        """Refuse to replay a day in the future, or one before the newest delivery of this home.

        Raises:
            ClockError: see `ingestion.lake.context.check_clock`.
        """
        if self.on:
            check_clock(self.on, self.now(), self.ingest_context)

    def check_disk_space(self) -> None:
        """Refuse to begin a run that would run out of disk space.

        Raises:
            DiskFullError: see `home.disk_space.check_disk_space`.
        """
        taken_in = [source for name, source in self.sources.items() if self.takes_in(name)]
        files = [path for source in taken_in for path in waiting(source, self.ingest_context, self.on)]
        snapshot = current_snapshot(self.settings.published)
        check_disk_space(
            self.settings.home,
            sum(path.stat().st_size for path in files),
            self.settings.warehouse_file,
            snapshot.folder if snapshot else None,
        )

    def receipts(self, source: str | None = None) -> list[Receipt]:
        """The receipts ingested up to `known_as_of` (all, if it is not set), of one source or of all sources."""
        seen = self.ingest_context.book.all(source)
        return [r for r in seen if r.ingested_at <= self.known_as_of] if self.known_as_of else seen

    def champion(self, source: str) -> Decision | None:
        """The decision on the source's champion, which this night scores with; None if there is no champion."""
        return self.ledger.champion(source, self.known_as_of)

    @cached_property
    def ingest_context(self) -> IngestContext:
        """The landing folder, the lake and the keys.

        Raises:
            MasterKeyError: production has no master key of its own, or the key does not belong to this lake.
        """
        s = self.settings
        keys = load_keys(s.master_key, s.master_key_file, production=s.profile == "production")
        store, share = KeyStore(s.key_store_file, keys), self.policy.ingestion.max_bad_row_share
        ingest_context = IngestContext(s.landing, s.lake, store.lake_keys(), share, store, s.audit_head_file)
        ingest_context.check_key()
        return ingest_context

    @cached_property
    def code(self) -> str:
        """The fingerprint of this process's code, locks and policy, and of the user's own contracts."""
        return code_fingerprint(PROJECT_ROOT, self.settings.policy, own_contracts(self.settings.contracts))

    @property
    def ledger(self) -> PromotionLedger:
        """The promotion ledger."""
        return PromotionLedger(self.settings.ledger_file)

    @property
    def registry(self) -> Registry:
        """The MLflow store."""
        return Registry(self.settings.mlflow_uri, self.settings.mlflow / "artifacts")

    def read_warehouse(self) -> duckdb.DuckDBPyConnection:
        """A read-only connection to the warehouse, within DuckDB's memory limit."""
        file, memory = str(self.settings.warehouse_file), self.settings.duckdb_memory
        return duckdb.connect(file, read_only=True, config={"memory_limit": memory})

    def training_set_file(self, source: str) -> Path:
        """The path of a source's training set."""
        return self.settings.build / f"training_set_{source}.parquet"

    def untrained_file(self, source: str) -> Path:
        """The path of the reason why training failed on a training set that was long enough."""
        return self.settings.build / f"untrained_{source}.txt"

    @property
    def scores_file(self) -> Path:
        """The path of tonight's scores before they are published."""
        return self.settings.build / "scores.parquet"

    def portfolio_file(self, table: str) -> Path:
        """The path of a portfolio table of tonight before it is published."""
        return self.settings.build / "portfolio" / f"{table}.parquet"

    @property
    def early_warnings_file(self) -> Path:
        """The path of tonight's history of early warnings before it is published."""
        return self.settings.build / "early_warnings.parquet"

    def model_folder(self, sha256: str) -> Path:
        """The folder of the model with this hash; it is written once and never changed."""
        return self.settings.mlflow / "models" / sha256

    def has_delivered(self, source: str) -> bool:
        """Whether a delivery of this source was ever accepted. Until then, nights leave the source out."""
        return any(r.state in TAKEN_IN for r in self.receipts(source))

    def active_sources(self) -> list[str]:
        """The sources that have delivered, in the order of the policy."""
        return [name for name in self.sources if self.has_delivered(name)]


def load_pipeline(
    settings: Settings | None = None,
    extra_checks: Mapping[str, tuple[Check, ...]] | None = None,
    on: date | None = None,
    known_as_of: datetime | None = None,
    intake: bool = True,
    only: frozenset[str] | None = None,
) -> Pipeline:
    """Load the pipeline.

    `settings`: None for the settings of the environment. `extra_checks`: checks to add to suites, by suite name; tests
    use them to add checks that fail. `on`, `known_as_of`, `intake` and `only`: see `Pipeline`.

    Raises:
        PolicyError: the policy file is invalid or names a source without a contract, or `only` names a source that is
            not in the policy.
        ContractError: a contract is invalid.
        HomeVersionError: the home was written by newer code.
    """
    chosen = settings or Settings()
    check_home(chosen.home)
    policy = load_policy(chosen.policy)
    sources = load_sources(chosen.contracts)
    unknown = sorted(policy.sources.keys() - sources.keys())
    if unknown:
        raise problem_at(
            chosen.policy,
            ("sources", unknown[0]),
            f"there is no contract for {', '.join(unknown)}; there are {', '.join(sources)}. "
            f"A contract of your own is {chosen.contracts / '<name>' / 'contract.yaml'}",
        )
    sources = {name: sources[name] for name in policy.sources}
    if unknown := sorted((only or frozenset()) - sources.keys()):
        raise PolicyError(f"policy {chosen.policy} has no source {', '.join(unknown)}; it has {', '.join(sources)}")
    return Pipeline(chosen, policy, sources, dict(extra_checks or {}), on, known_as_of, intake, only)
