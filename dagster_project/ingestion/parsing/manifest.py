"""Functions that read and copy manifests, and the check of a delivery against its manifest.

The manifest of the delivery `NAME` is the file `NAME.done` in the same folder. It shows that the delivery is complete.
A manifest is empty, or it is a JSON object with any of these keys:

- `rows`: the number of raw lines after the header.
- `control_total`: the sum of the contract's control columns.
- `sha256`: the hash of the unpacked content.

If the contract requires manifests, a file without a manifest counts as incomplete and is not ingested yet.
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
    """The content of a manifest.

    Attributes:
        rows: the number of raw lines after the header, or None if the manifest does not state it.
        control_total: the sum of the contract's control columns, or None if the manifest does not state it.
        sha256: the hash of the unpacked content, or None if the manifest does not state it.
        wrong: the reason why the manifest is not valid, or None if it is valid.
    """

    rows: int | None = None
    control_total: Decimal | None = None
    sha256: str | None = None
    wrong: str | None = None

    def check(self, sha256: str, rows: int, control_total: Decimal | float) -> None:
        """Raise an error if a delivery does not match its manifest.

        The arguments are the hash, the number of rows and the control total that were found in the delivery. Values
        that the manifest does not state are not checked.

        Raises:
            DeliveryRefusedError: if the manifest is not valid, or if it states another hash, number of rows or control
                total.
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
    """Return the path that the manifest of a delivery has in the landing folder.

    The path is returned whether or not the manifest exists.
    """
    return path.with_name(path.name + DONE)


def keep_manifest(path: Path, lake: Path, source: str, sha256: str) -> None:
    """Copy the manifest of a delivery from the landing folder to the lake.

    The copy is needed if the delivery is read and checked again later. If the delivery has no manifest, or if the lake
    already has a copy, this function does nothing.
    """
    beside, kept = manifest_of(path), kept_manifest(lake, source, sha256)
    if beside.is_file() and not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        replace_text(kept, beside.read_bytes().decode(errors="replace"))


def kept_manifest(lake: Path, source: str, sha256: str) -> Path:
    """Return the path that the copy of a delivery's manifest has in the lake, whether or not the copy exists."""
    return lake / "manifests" / source / f"{sha256}{DONE}"


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    If the file does not exist or is empty, all fields of the result are None. If the file is not a valid manifest, the
    field `wrong` contains the reason and the other fields are None.
    """
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
