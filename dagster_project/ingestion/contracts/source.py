"""Code that loads the sources. A source is a contract and an adapter that builds canonical tables."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import polars as pl

from dagster_project.ingestion.contracts import contract_adapter, sources
from dagster_project.ingestion.contracts.contract import Contract, ContractError, load_contract

# Turns the typed rows of one file into canonical tables: (layout name, rows, contract) -> rows by table name.
Adapter = Callable[[str, pl.DataFrame, Contract], dict[str, pl.DataFrame]]
CONTRACT_FILE = "contract.yaml"


@dataclass(frozen=True)
class Source:
    """A contract, and the adapter that turns the rows of a delivered file into canonical tables."""

    contract: Contract
    adapt: Adapter

    @property
    def name(self) -> str:
        """Return the name of the source, which is the `id` in its contract."""
        return self.contract.source

    @property
    def is_mapped(self) -> bool:
        """Whether the contract alone maps each delivered row, without comparing it with other rows."""
        return self.adapt is contract_adapter.adapt


def load_sources(own: Path | None = None) -> dict[str, Source]:
    """Return all sources by name: those of the project and, if `own` is given, those in the folder `own`.

    Each source is a subfolder with a `contract.yaml`. A source of the project may also have an `adapter.py`. For all
    other sources, the contract itself maps the columns.

    Raises:
        ContractError: a contract cannot be used, or a source in `own` has the name of another source.
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
                found[folder.name] = _without_adapter(folder / CONTRACT_FILE)
    for path in own_contracts(own) if own else []:
        source = _without_adapter(path)
        if source.name in found:
            raise ContractError(f"{path}: the project already has a source {source.name!r}; choose another id")
        found[source.name] = source
    return found


def _without_adapter(path: Path) -> Source:
    """Load a source whose contract maps the columns, and check the mapping."""
    contract = load_contract(path)
    contract_adapter.check_mapping(str(path), contract)
    return Source(contract, contract_adapter.adapt)


def own_contracts(folder: Path) -> list[Path]:
    """Return the paths of the contracts in the subfolders of `folder`, sorted.

    These are the contracts of the user's own sources.
    """
    return sorted(folder.glob(f"*/{CONTRACT_FILE}"))
