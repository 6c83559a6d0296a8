"""The class that defines how dbt models appear in Dagster: their keys, groups, kinds and dependencies."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject

from dagster_project.defs.asset_keys import mart_asset, raw_asset


class CreditloomTranslator(DagsterDbtTranslator):
    """A translator that turns the nodes of the dbt project into Dagster assets.

    A model that reads a lake table depends on the raw assets of all sources that deliver this table. A model belongs to
    the asset group of its layer, such as staging or marts.
    """

    def __init__(self, sources: Mapping[str, frozenset[str]], owner: str) -> None:
        # A lake table and the table of its new rows are two dbt sources, but the same asset.
        super().__init__(DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True))
        self._sources = sources
        self._owner = owner

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """Return the asset spec of the dbt node with this unique id."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = self.get_resource_props(manifest, unique_id)
        if node["resource_type"] == "source":
            return spec.replace_attributes(key=dg.AssetKey(["lake", node["name"]]))
        deps = [dep for dep in spec.deps if dep.asset_key.path[0] != "lake"]
        deps += [
            dg.AssetDep(dg.AssetKey(raw_asset(source, dep.asset_key.path[1])))
            for dep in spec.deps
            if dep.asset_key.path[0] == "lake"
            for source, tables in self._sources.items()
            if dep.asset_key.path[1] in tables
        ]
        return spec.replace_attributes(
            key=dg.AssetKey(mart_asset(node["name"])),
            deps=deps,
            group_name=node["fqn"][1],
            kinds={"dbt", "duckdb"},
            description=node["description"],
            owners=[self._owner],
        )
