"""How dbt's models and sources appear in Dagster: keys, groups and kinds."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtProject

from dagster_project.resources import mart_asset, raw_asset

_GROUPS = {"staging": "staging", "intermediate": "intermediate", "marts": "marts"}


class CreditloomTranslator(DagsterDbtTranslator):
    """A source is the raw asset that ingestion writes; a model stands in the group of its layer."""

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """The spec of one dbt node."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        node = self.get_resource_props(manifest, unique_id)
        if node["resource_type"] == "source":
            return spec.replace_attributes(key=dg.AssetKey(raw_asset(node["source_name"], node["name"])))
        layer = node["fqn"][1]
        return spec.replace_attributes(
            key=dg.AssetKey(mart_asset(node["name"])),
            group_name=_GROUPS[layer],
            kinds={"dbt", "duckdb"},
            description=node["description"],
        )
