"""The class `Pipeline`, which every step of a night receives, and the function that loads it.

A pipeline contains the settings, the policy, the sources and extra checks. This module does not use Dagster.
"""

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
    """The settings and inputs of a night, which all of its steps share.

    Attributes:
        settings: the settings of the home.
        policy: the policy.
        sources: the sources by name, in the order of the policy.
        extra_checks: checks that are added to suites, by the name of the suite.
        on: the day that a replayed night treats as today, or None for a normal night.
        known_as_of: the time (UTC, without time zone information) as of which a night is rebuilt, or None if the night
            is not a rebuild. A rebuilt night ignores deliveries and decisions after this time. It ingests nothing and
            does not replace the current snapshot.
        intake: whether the night ingests landed files. If false, all files stay in the landing folders.
        only: the names of the sources whose files are ingested, or None for all sources.
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
        """Return whether this night ingests the landed files of a source."""
        return self.intake and self.known_as_of is None and (self.only is None or source in self.only)

    def now(self) -> datetime:
        """Return the current time of the night in UTC, without time zone information.

        In a replay, this is 02:00 on the replayed day. Otherwise it is the real time.
        """
        return datetime.combine(self.on, NIGHT_HOUR) if self.on else datetime.now(UTC).replace(tzinfo=None)

    def check_clock(self) -> None:
        """Check that a replayed day is not in the future, and not before the newest delivery of this home.

        Does nothing if the night is not a replay.

        Raises:
            ClockError: the replayed day fails this check.
        """
        if self.on:
            check_clock(self.on, self.now(), self.ingest_context)

    def check_disk_space(self) -> None:
        """Check that the disk has enough free space for this night.

        Raises:
            DiskFullError: the free space is less than the night may need; `check_disk_space` describes the estimate.
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
        """Return the receipts of one source, or those of all sources if `source` is None, oldest first.

        If `known_as_of` is set, receipts of files that were ingested later are left out.
        """
        seen = self.ingest_context.book.all(source)
        return [r for r in seen if r.ingested_at <= self.known_as_of] if self.known_as_of else seen

    def champion(self, source: str) -> Decision | None:
        """Return the decision that made the source's current champion, or None if the source has no champion.

        In a rebuilt night, this is the champion at the time `known_as_of`.
        """
        return self.ledger.champion(source, self.known_as_of)

    @cached_property
    def ingest_context(self) -> IngestContext:
        """Return the landing folder, the lake and the keys.

        Raises:
            MasterKeyError: the master key is invalid or missing, it does not belong to this lake, or the key store is
                missing. Outside production, a missing key is no error, because the public development key is used.
        """
        s = self.settings
        keys = load_keys(s.master_key, s.master_key_file, production=s.profile == "production")
        store, share = KeyStore(s.key_store_file, keys), self.policy.ingestion.max_bad_row_share
        ingest_context = IngestContext(s.landing, s.lake, store.lake_keys(), share, store, s.audit_head_file)
        ingest_context.check_key()
        return ingest_context

    @cached_property
    def code(self) -> str:
        """Return a fingerprint of the project's code and lock files, of the policy, and of the user's own contracts.

        It is computed from the files on disk when it is first needed, and does not change afterwards.
        """
        return code_fingerprint(PROJECT_ROOT, self.settings.policy, own_contracts(self.settings.contracts))

    @property
    def ledger(self) -> PromotionLedger:
        """Return the promotion ledger of the home."""
        return PromotionLedger(self.settings.ledger_file)

    @property
    def registry(self) -> Registry:
        """Return the model registry of the home, which is stored in MLflow."""
        return Registry(self.settings.mlflow_uri, self.settings.mlflow / "artifacts")

    def read_warehouse(self) -> duckdb.DuckDBPyConnection:
        """Open a read-only connection to the warehouse that uses at most the memory allowed by the settings."""
        file, memory = str(self.settings.warehouse_file), self.settings.duckdb_memory
        return duckdb.connect(file, read_only=True, config={"memory_limit": memory})

    def training_set_file(self, source: str) -> Path:
        """Return the path of the file that contains a source's training set."""
        return self.settings.build / f"training_set_{source}.parquet"

    def untrained_file(self, source: str) -> Path:
        """Return the path of the text file that contains the reason why training failed for a source.

        The file is written only if the source has no champion and training failed on a training set that was large
        enough.
        """
        return self.settings.build / f"untrained_{source}.txt"

    def pd_history_file(self, source: str) -> Path:
        """Return the path of the file that keeps the PDs of a source's loans at earlier month-ends."""
        return self.settings.build / f"pd_history_{source}.parquet"

    @property
    def scores_file(self) -> Path:
        """Return the path of the file to which tonight's scores are written before publication."""
        return self.settings.build / "scores.parquet"

    def portfolio_file(self, table: str) -> Path:
        """Return the path of the file to which one of tonight's portfolio tables is written before publication."""
        return self.settings.build / "portfolio" / f"{table}.parquet"

    @property
    def early_warnings_file(self) -> Path:
        """Return the path of the file to which tonight's early warnings are written before publication.

        The file contains the states of all months, not only of the newest month.
        """
        return self.settings.build / "early_warnings.parquet"

    def model_folder(self, sha256: str) -> Path:
        """Return the path of the folder that contains the model with this hash.

        The files of a model never change after they have been written.
        """
        return self.settings.mlflow / "models" / sha256

    def has_delivered(self, source: str) -> bool:
        """Return whether at least one delivery of this source was accepted, completely or in part.

        Nights leave out a source until this is the case.
        """
        return any(r.state in TAKEN_IN for r in self.receipts(source))

    def active_sources(self) -> list[str]:
        """Return the names of the sources that have delivered, in the order of the policy."""
        return [name for name in self.sources if self.has_delivered(name)]


def load_pipeline(
    settings: Settings | None = None,
    extra_checks: Mapping[str, tuple[Check, ...]] | None = None,
    on: date | None = None,
    known_as_of: datetime | None = None,
    intake: bool = True,
    only: frozenset[str] | None = None,
) -> Pipeline:
    """Load the policy and the contracts, and return the pipeline.

    Args:
        settings: the settings, or None to read them from the environment.
        extra_checks: checks that are added to suites, by the name of the suite. Tests use them to make a night fail.
        on: the day to replay; see `Pipeline`.
        known_as_of: the time as of which a night is rebuilt; see `Pipeline`.
        intake: whether landed files are ingested; see `Pipeline`.
        only: the names of the sources whose files are ingested; see `Pipeline`.

    Raises:
        PolicyError: the policy file is invalid, the policy names a source that has no contract, or `only` names a
            source that is not in the policy.
        ContractError: a contract is invalid.
        HomeVersionError: the home was written by newer code, or its version cannot be read.
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
