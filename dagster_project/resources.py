"""What the assets work with: settings, policy, sources and guarded tables as one plain value. No Dagster."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from functools import cached_property
from pathlib import Path

import duckdb

from dagster_project.home.version import check_home
from dagster_project.ingestion.border import Border, check_clock
from dagster_project.ingestion.canonical import PERSONS
from dagster_project.ingestion.key_store import KeyStore
from dagster_project.ingestion.keys import load_keys
from dagster_project.ingestion.landing import waiting
from dagster_project.ingestion.receipts import TAKEN_IN, Receipt
from dagster_project.ingestion.source import Source, load_sources, own_contracts
from dagster_project.policy import Policy, PolicyError, load_policy
from dagster_project.publishing.fingerprint import code_fingerprint
from dagster_project.publishing.snapshot import current_snapshot
from dagster_project.settings import PROJECT_ROOT, Settings
from dagster_project.space import check_space
from expectations import features, portfolio, raw, scores, training_set
from expectations.suite import Check, Suite
from ml.promote import Decision, PromotionLedger
from ml.reasons import FAMILIES, NO_REASON
from ml.registry import Registry
from ml.scale import DEFAULT_GRADE

MARTS = "marts"
RAW = "raw"
PORTFOLIO = "portfolio"
NIGHT_HOUR = time(2)


@dataclass(frozen=True)
class Guard:
    """A suite, the asset whose border it guards, and where its table is: in the warehouse, or in Parquet files.

    `source` is set where the table is one source's alone: it is guarded once that source has delivered.
    """

    suite: Suite
    asset: tuple[str, ...]
    parquet: Path | None = None
    source: str | None = None

    @property
    def is_raw(self) -> bool:
        """Whether it guards a raw table, which only grows."""
        return self.asset[0] == RAW


@dataclass(frozen=True)
class Pipeline:
    """Everything that the assets of one code location share.

    `on`: the day that a replayed night takes for today. `known_as_of`: the instant (UTC, without zone) up to which a
    rebuilt night sees deliveries and decisions; it takes nothing in and moves no pointer. Without `intake` a night
    builds on what the lake has, and what waits goes on waiting; with `only`, what waits of other sources does.
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
        """Whether this night takes in what waits of a source."""
        return self.intake and self.known_as_of is None and (self.only is None or source in self.only)

    def now(self) -> datetime:
        """The night's clock in UTC, without zone: 02:00 of the replayed day, or the real one."""
        return datetime.combine(self.on, NIGHT_HOUR) if self.on else datetime.now(UTC).replace(tzinfo=None)

    def check_clock(self) -> None:
        """Refuse a replay of a day that this home has left behind, or that is yet to come.

        Raises:
            ClockError: see `ingestion.border.check_clock`.
        """
        if self.on:
            check_clock(self.on, self.now(), self.border)

    def check_space(self) -> None:
        """Refuse to begin a run that would fill the disk half-way.

        Raises:
            DiskFullError: see `space.check_space`.
        """
        taken_in = [source for name, source in self.sources.items() if self.takes_in(name)]
        files = [path for source in taken_in for path in waiting(source, self.border, self.on)]
        snapshot = current_snapshot(self.settings.published)
        check_space(
            self.settings.home,
            sum(path.stat().st_size for path in files),
            self.settings.warehouse_file,
            snapshot.folder if snapshot else None,
        )

    def receipts(self, source: str | None = None) -> list[Receipt]:
        """The receipts that this night may see, of one source or of all."""
        seen = self.border.book.all(source)
        return [r for r in seen if r.ingested_at <= self.known_as_of] if self.known_as_of else seen

    def champion(self, source: str) -> Decision | None:
        """The champion of a source that this night scores with."""
        return self.ledger.champion(source, self.known_as_of)

    @cached_property
    def border(self) -> Border:
        """The landing folder, the lake and the keys.

        Raises:
            MasterKeyError: production without a master key of its own, or a key that is not the lake's.
        """
        s = self.settings
        keys = load_keys(s.master_key, s.master_key_file, production=s.profile == "production")
        store, share = KeyStore(s.key_store_file, keys), self.policy.ingestion.max_bad_row_share
        border = Border(s.landing, s.lake, store.lake_keys(), share, store, s.audit_head_file)
        border.check_key()
        return border

    @cached_property
    def code(self) -> str:
        """Fingerprint of the code, locks, policy and own contracts that this process works with."""
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
        """A connection to the warehouse that cannot write, within the memory that DuckDB may take."""
        file, memory = str(self.settings.warehouse_file), self.settings.duckdb_memory
        return duckdb.connect(file, read_only=True, config={"memory_limit": memory})

    def training_set_file(self, source: str) -> Path:
        """Where a source's training set lies between its asset and its model."""
        return self.settings.build / f"training_set_{source}.parquet"

    def untrained_file(self, source: str) -> Path:
        """Where it stands in words that a training set, though it is long enough, gave no model."""
        return self.settings.build / f"untrained_{source}.txt"

    @property
    def scores_file(self) -> Path:
        """Where tonight's scores lie until they are published."""
        return self.settings.build / "scores.parquet"

    def portfolio_file(self, table: str) -> Path:
        """Where a table of tonight's portfolio lies until it is published."""
        return self.settings.build / "portfolio" / f"{table}.parquet"

    @property
    def early_warnings_file(self) -> Path:
        """Where tonight's history of early warnings lies until it is published."""
        return self.settings.build / "early_warnings.parquet"

    def model_folder(self, sha256: str) -> Path:
        """Where the files of a model lie, by its hash: written once, never changed."""
        return self.settings.mlflow / "models" / sha256

    @cached_property
    def guards(self) -> tuple[Guard, ...]:
        """Every suite that a night must pass, in the order of the flow."""
        scale, data = self.policy.scale, self.policy.training_data
        found = [
            Guard(
                raw.suite(
                    name,
                    table.name,
                    table.columns,
                    table.key,
                    delivered_again=table.name in PERSONS or table.corrections,
                ),
                raw_asset(name, table.name),
                self.settings.selection / name / table.name / "*.parquet",
                name,
            )
            for name, source in self.sources.items()
            for table in source.contract.tables
        ]
        found.append(Guard(features.suite(), mart_asset("feat_loan_months")))
        for name in self.sources:
            suite = training_set.suite(name, data.min_default_rate, data.max_default_rate)
            found.append(Guard(suite, training_set_asset(name), self.training_set_file(name), name))
        grades = tuple(scale.grade_edges)
        codes = (*(f.code for f in FAMILIES), NO_REASON)
        suite = scores.suite(scale.score_min, scale.score_max, scale.pd_floor, grades, DEFAULT_GRADE, codes)
        found.append(Guard(suite, SCORES_ASSET, self.scores_file))
        found += [Guard(s, portfolio_asset(s.table), self.portfolio_file(s.table)) for s in portfolio.suites()]
        return tuple(self._with_extra(guard) for guard in found)

    def has_delivered(self, source: str) -> bool:
        """Whether a delivery of this source was ever accepted; until then the source takes no part in a night."""
        return any(r.state in TAKEN_IN for r in self.receipts(source))

    def active_sources(self) -> list[str]:
        """The sources that have delivered, in the order of the policy."""
        return [name for name in self.sources if self.has_delivered(name)]

    def _with_extra(self, guard: Guard) -> Guard:
        extra = self.extra_checks.get(guard.suite.name, ())
        return replace(guard, suite=replace(guard.suite, checks=(*guard.suite.checks, *extra)))


QUARANTINE_ASSET = ("quarantine", "held_rows")
SCORES_ASSET = ("scores", "scores")
EARLY_WARNINGS_ASSET = ("early_warning", "early_warnings")
SNAPSHOT_ASSET = ("published", "snapshot")
NOTICES_ASSET = ("early_warning", "notices")


def portfolio_asset(table: str) -> tuple[str, ...]:
    """Asset key of a portfolio table that stands on scores."""
    return (PORTFOLIO, table)


def landing_asset(source: str) -> tuple[str, ...]:
    """Asset key of a source's deliveries."""
    return ("landing", source)


def raw_asset(source: str, table: str) -> tuple[str, ...]:
    """Asset key of a raw table."""
    return (RAW, source, table)


def mart_asset(name: str) -> tuple[str, ...]:
    """Asset key of a dbt model."""
    return ("warehouse", name)


def training_set_asset(source: str) -> tuple[str, ...]:
    """Asset key of a source's training set."""
    return ("model", source, "training_set")


def champion_asset(source: str) -> tuple[str, ...]:
    """Asset key of a source's champion."""
    return ("model", source, "champion")


def load_pipeline(
    settings: Settings | None = None,
    extra_checks: Mapping[str, tuple[Check, ...]] | None = None,
    on: date | None = None,
    known_as_of: datetime | None = None,
    intake: bool = True,
    only: frozenset[str] | None = None,
) -> Pipeline:
    """The pipeline of the environment's settings; tests hand in their own, and checks that break.

    `on`, `known_as_of`, `intake` and `only`: see `Pipeline`.

    Raises:
        PolicyError: the policy file cannot be used, or names a source that has no contract; `only` names a source that
            the policy does not have.
        ContractError: a contract cannot be used.
        HomeVersionError: the home was written by newer code.
    """
    chosen = settings or Settings()
    check_home(chosen.home)
    policy = load_policy(chosen.policy)
    sources = load_sources(chosen.contracts)
    unknown = sorted(policy.sources.keys() - sources.keys())
    if unknown:
        raise PolicyError(
            f"policy {chosen.policy}: sources: no contract for {', '.join(unknown)}; there are {', '.join(sources)}. "
            f"A contract of your own lies in {chosen.contracts / '<name>' / 'contract.yaml'}"
        )
    sources = {name: sources[name] for name in policy.sources}
    if strangers := sorted((only or frozenset()) - sources.keys()):
        raise PolicyError(f"policy {chosen.policy} has no source {', '.join(strangers)}; it has {', '.join(sources)}")
    return Pipeline(chosen, policy, sources, dict(extra_checks or {}), on, known_as_of, intake, only)
