"""Decisions about which model may score: the gate for a source's first champion, and the promotion ledger.

The ledger is an append-only table that answers the question "which model scored on date D, and why?". It has one row
per decision. Each row contains the sha256 of the model, which scoring checks before it loads a champion. Database
triggers prevent rows from being changed or deleted.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from ml.section import Section
from ml.validate import Performance

_SCHEMA = """
create table if not exists promotions (
  decision_no   integer primary key autoincrement,
  source        text not null,
  decided_at    text not null,
  decision      text not null check (decision in ('promoted', 'rejected', 'held')),
  reason        text not null,
  model_name    text not null,
  model_version text not null,
  run_id        text not null,
  sha256        text not null,
  evidence      text not null
);
create trigger if not exists promotions_keep before update on promotions
  begin select raise(abort, 'the promotion ledger is append-only'); end;
create trigger if not exists promotions_keep_rows before delete on promotions
  begin select raise(abort, 'the promotion ledger is append-only'); end;
"""


class BootstrapGate(Section):
    """Limits that the first candidate of a source must meet to become champion."""

    slope_min: float = Field(ge=0, description="Smallest allowed slope of the calibration.")
    slope_max: float = Field(gt=0, description="Largest allowed slope of the calibration. Must be above `slope_min`.")
    auc_lower_bound: float = Field(
        ge=0, lt=1, description="The lower end of the AUC's 95 % interval must be above this value."
    )
    max_additivity_error: float = Field(
        gt=0, description="Largest allowed difference between a margin and the sum of its contributions, in logits."
    )

    @field_validator("slope_max")
    @classmethod
    def _above_minimum(cls, value: float, info: ValidationInfo) -> float:
        least = info.data.get("slope_min")
        if least is not None and value <= least:
            raise ValueError(f"slope_max ({value:g}) must be above slope_min ({least:g})")
        return value


def bootstrap_failures(gate: BootstrapGate, performance: Performance, additivity_error: float) -> list[str]:
    """Return the reasons against making a candidate the first champion, as messages.

    The list is empty if the candidate may become champion. Reason codes that fail the direction check are not counted
    against the candidate, because they are never given for a score.
    """
    checks = {
        f"calibration slope {performance.slope:.3f} is outside {gate.slope_min}-{gate.slope_max}": (
            gate.slope_min <= performance.slope <= gate.slope_max
        ),
        f"lower bound of AUC {performance.auc_low:.3f} is not above {gate.auc_lower_bound}": (
            performance.auc_low > gate.auc_lower_bound
        ),
        f"contributions miss the margin by {additivity_error:.2e} (limit {gate.max_additivity_error:.0e})": (
            additivity_error <= gate.max_additivity_error
        ),
    }
    return [text for text, holds in checks.items() if not holds]


@dataclass(frozen=True)
class Decision:
    """One decision about a model, which is one row of the promotion ledger.

    Attributes:
        source: the source that the model belongs to.
        decided_at: the time of the decision in UTC, without time zone information.
        decision: `promoted`, `rejected` or `held`. A held candidate does not replace the champion.
        reason: `bootstrap` if the candidate became the first champion, otherwise the reasons against its promotion.
        model_name: the name under which the model is registered in MLflow.
        model_version: the version of the registered model.
        run_id: the ID of the MLflow run that logged the model.
        sha256: the hash of the model's files.
        evidence: the figures and tags that the decision is based on, by name.
    """

    source: str
    decided_at: datetime
    decision: str
    reason: str
    model_name: str
    model_version: str
    run_id: str
    sha256: str
    evidence: Mapping[str, float | int | str]


_COLUMNS = tuple(Decision.__dataclass_fields__)


class PromotionLedger:
    """The promotion ledger, stored in one SQLite file. The file is created when the ledger is first used."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=30)
        try:
            connection.execute("pragma synchronous = full")
            connection.execute(
                "pragma recursive_triggers = on"
            )  # so that the delete trigger also fires for `insert or replace`
            connection.executescript(_SCHEMA)
            with connection:
                yield connection
        finally:
            connection.close()

    def append(self, decision: Decision) -> int:
        """Append a decision to the ledger and return its number."""
        row = asdict(decision) | {
            "decided_at": decision.decided_at.isoformat(),
            "evidence": json.dumps(decision.evidence, sort_keys=True),
        }
        with self._open() as db:
            done = db.execute(
                f"insert into promotions ({', '.join(row)}) values ({', '.join(':' + c for c in row)})",  # noqa: S608
                row,
            )
            return int(done.lastrowid or 0)

    def numbered(self) -> list[tuple[int, Decision]]:
        """Return all decisions as (number, decision), oldest first."""
        query = f"select {', '.join(_COLUMNS)}, decision_no from promotions order by decision_no"  # noqa: S608
        with self._open() as db:
            return [(int(row[-1]), _decision(row[:-1])) for row in db.execute(query)]

    def champion(self, source: str, as_of: datetime | None = None) -> Decision | None:
        """Return the decision that promoted the champion of a source, or None if no model was promoted.

        If `as_of` is given, only decisions up to that time count.
        """
        query = f"select {', '.join(_COLUMNS)} from promotions where source = ? and decision = 'promoted'"  # noqa: S608
        values = [source]
        if as_of is not None:
            query, values = query + " and decided_at <= ?", [source, as_of.isoformat()]
        with self._open() as db:
            found = db.execute(query + " order by decision_no desc limit 1", values).fetchone()
        return None if found is None else _decision(found)


def _decision(values: tuple[Any, ...]) -> Decision:
    row: dict[str, Any] = dict(zip(_COLUMNS, values, strict=True))
    decided_at, evidence = datetime.fromisoformat(row["decided_at"]), json.loads(row["evidence"])
    return Decision(**row | {"decided_at": decided_at, "evidence": evidence})
