"""Manifests: the file `NAME.done` beside delivery `NAME` says that the delivery is complete, and may describe it.

A manifest is empty, or a JSON object with any of `rows` (raw lines after the header), `control_total` (the sum of the
contract's control columns) and `sha256` (of the unpacked content). If the contract requires manifests, a file without
one counts as incomplete and waits.
"""

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from dagster_project.home.files import replace_text
from dagster_project.ingestion.contracts.contract import DONE
from dagster_project.ingestion.parsing.records import DeliveryRefusedError

_KNOWN = {"rows", "control_total", "sha256"}


@dataclass(frozen=True)
class Manifest:
    """The content of a manifest; a field that it does not state is None. `wrong`: why it cannot be read, else None."""

    rows: int | None = None
    control_total: Decimal | None = None
    sha256: str | None = None
    wrong: str | None = None

    def check(self, sha256: str, rows: int, control_total: Decimal | float) -> None:
        """Refuse a delivery that differs from its manifest.

        Raises:
            DeliveryRefusedError: the hash, the number of rows or the control total differs, or the manifest cannot be
                read.
        """
        if self.wrong:
            raise DeliveryRefusedError("manifest", self.wrong, rows)
        if self.sha256 is not None and self.sha256 != sha256:
            raise DeliveryRefusedError("bad_hash", "the content has another sha256 than its manifest says", rows)
        if self.rows is not None and self.rows != rows:
            message = f"the file has {rows} lines of data, its manifest says {self.rows}"
            raise DeliveryRefusedError("row_count", message, rows)
        if self.control_total is not None and self.control_total != control_total:
            raise DeliveryRefusedError("control_total", "the amounts do not add up to what the manifest says", rows)


def manifest_of(path: Path) -> Path:
    """The path of a delivery's manifest in the landing folder, whether it exists or not."""
    return path.with_name(path.name + DONE)


def keep_manifest(path: Path, lake: Path, source: str, sha256: str) -> None:
    """Copy a delivery's manifest, if it has one, to the lake: the file may be read and checked again later."""
    beside, kept = manifest_of(path), kept_manifest(lake, source, sha256)
    if beside.is_file() and not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        replace_text(kept, beside.read_bytes().decode(errors="replace"))


def kept_manifest(lake: Path, source: str, sha256: str) -> Path:
    """The path of the lake's copy of a delivery's manifest."""
    return lake / "manifests" / source / f"{sha256}{DONE}"


def read_manifest(path: Path) -> Manifest:
    """Read a manifest. If there is no file, all fields are None; if it cannot be read, `wrong` gives the reason."""
    try:
        text = path.read_bytes().decode() if path.is_file() else ""
        said = json.loads(text) if text.strip() else {}
        if not isinstance(said, dict) or not said.keys() <= _KNOWN:
            return Manifest(wrong=f"the manifest is no JSON object with some of {', '.join(sorted(_KNOWN))}")
        total = Decimal(str(said["control_total"])) if "control_total" in said else None
        rows = said.get("rows")
        if rows is not None and (not isinstance(rows, int) or isinstance(rows, bool)):
            return Manifest(wrong="the manifest's rows is no whole number")
        return Manifest(rows, total, str(said["sha256"]).lower() if "sha256" in said else None)
    except (UnicodeDecodeError, json.JSONDecodeError):
        return Manifest(wrong="the manifest is no JSON")
    except InvalidOperation:
        return Manifest(wrong="the manifest's control_total is no amount")
