"""A source: its contract, and the adapter that makes canonical tables of what it delivers."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import polars as pl

from dagster_project.ingestion.contracts import contract_adapter, sources
from dagster_project.ingestion.contracts.contract import Contract, ContractError, load_contract

# Makes canonical tables of the typed rows of one file: (layout's name, rows, contract) -> rows by table.
Adapter = Callable[[str, pl.DataFrame, Contract], dict[str, pl.DataFrame]]
CONTRACT_FILE = "contract.yaml"


@dataclass(frozen=True)
class Source:
    """A contract and the adapter that makes canonical tables of a delivered file."""

    contract: Contract
    adapt: Adapter

    @property
    def name(self) -> str:
        """The source's name, as in its contract."""
        return self.contract.source


def load_sources(own: Path | None = None) -> dict[str, Source]:
    """Every source by name: those that come with the project, and those of the user's folder `own`.

    A source is a folder with a `contract.yaml`. One of the project's may have an `adapter.py` beside it; one without,
    and every one of a user's, is mapped by its contract alone.

    Raises:
        ContractError: a contract cannot be used.
    """
    found = {}
    for folder in sorted(Path(str(resources.files(sources))).iterdir()):
        if (folder / CONTRACT_FILE).is_file():
            if (folder / "adapter.py").is_file():
                adapter = importlib.import_module(f"{sources.__name__}.{folder.name}.adapter")
                contract = load_contract(folder / CONTRACT_FILE)
                contract_adapter.refuse_corrections(str(folder / CONTRACT_FILE), contract)
                found[folder.name] = Source(contract, adapter.adapt)
            else:
                found[folder.name] = _mapped(folder / CONTRACT_FILE)
    for path in own_contracts(own) if own else []:
        source = _mapped(path)
        if source.name in found:
            raise ContractError(f"{path}: a source {source.name!r} comes with the project; choose another id")
        found[source.name] = source
    return found


def _mapped(path: Path) -> Source:
    """A source without adapter."""
    contract = load_contract(path)
    contract_adapter.check_mapping(str(path), contract)
    return Source(contract, contract_adapter.adapt)


def own_contracts(folder: Path) -> list[Path]:
    """The contract files of the user's own sources."""
    return sorted(folder.glob(f"*/{CONTRACT_FILE}"))
