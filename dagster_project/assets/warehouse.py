"""The warehouse: dbt builds and tests every model from the selected raw files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource, DbtProject, dbt_assets

from dagster_project.dbt_project import arguments, dbt_executable
from dagster_project.night_resource import NIGHT
from dagster_project.publication import record_dbt_tests
from dagster_project.resources import Pipeline
from dagster_project.translator import CreditloomTranslator

# Unit tests judge the code and not the night's data: `make test` runs them.
_BUILD = ("build", "--exclude-resource-type", "unit_test")


def build_warehouse_assets(pipeline: Pipeline, manifest: Path) -> dg.AssetsDefinition:
    """All dbt models as assets, their data tests as asset checks."""
    settings = pipeline.settings
    project = DbtProject(settings.dbt_project, target_path=settings.dbt_target, profiles_dir=settings.dbt_project)

    tables = {name: frozenset(t.name for t in source.contract.tables) for name, source in pipeline.sources.items()}

    @dbt_assets(
        manifest=manifest,
        project=project,
        dagster_dbt_translator=CreditloomTranslator(tables),
        name="build_warehouse",
        pool="warehouse",
        required_resource_keys={"dbt", NIGHT},
    )
    def _warehouse(context: dg.AssetExecutionContext) -> Iterator[Any]:
        command = arguments(settings, pipeline.policy, _BUILD)
        dbt: DbtCliResource = context.resources.dbt
        yield from dbt.cli(command, context=context, target_path=settings.dbt_target).stream()
        record_dbt_tests(pipeline, context.run.run_id)

    return _warehouse


def build_dbt_resource(pipeline: Pipeline) -> DbtCliResource:
    """dbt's command line as Dagster runs it."""
    project = str(pipeline.settings.dbt_project)
    return DbtCliResource(project_dir=project, profiles_dir=project, dbt_executable=dbt_executable())
