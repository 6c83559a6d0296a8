"""The assets for the warehouse: dbt builds all models from the selected lake files, and tests them."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from subprocess import Popen
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliInvocation, DbtCliResource, DbtProject, dbt_assets
from dagster_dbt.dbt_manifest import validate_manifest
from packaging.version import Version

from dagster_project.defs.asset_keys import mart_asset, raw_asset
from dagster_project.defs.dbt_translator import CreditloomTranslator
from dagster_project.defs.resources import NIGHT
from dagster_project.defs.run_failures import dbt_test_failure
from dagster_project.night.imports import importing_meanwhile
from dagster_project.night.incremental_build import begin_build, end_build
from dagster_project.night.pipeline import Pipeline
from dagster_project.night.publish import mark_warehouse_changed, record_dbt_tests
from dagster_project.warehouse.runner import arguments, dbt_executable, early_build, failed_tests
from dagster_project.warehouse.table_metadata import TableMetadata, read_table_metadata

# Leaves out dbt's unit tests: they check the code, not the night's data, and `make test` runs them.
_BUILD = ("build", "--exclude-resource-type", "unit_test")


def build_warehouse_assets(pipeline: Pipeline, manifest: Path) -> dg.AssetsDefinition:
    """Return the assets for all dbt models, with dbt's data tests as asset checks.

    `manifest` is the path of dbt's manifest.
    """
    settings = pipeline.settings
    project = DbtProject(settings.dbt_project, target_path=settings.dbt_target, profiles_dir=settings.dbt_project)

    tables = {name: frozenset(t.name for t in source.contract.tables) for name, source in pipeline.sources.items()}

    translator = CreditloomTranslator(tables, pipeline.policy.owners.data)

    @dbt_assets(
        manifest=manifest,
        project=project,
        dagster_dbt_translator=translator,
        name="build_warehouse",
        pool="warehouse",
        required_resource_keys={"dbt", NIGHT},
    )
    def _warehouse(context: dg.AssetExecutionContext) -> Iterator[Any]:
        build = begin_build(pipeline)
        command = arguments(settings, pipeline.policy, [*_BUILD, *(["--full-refresh"] if build.is_full else [])])
        dbt: DbtCliResource = context.resources.dbt
        # Collect the events until dbt has closed the warehouse file: only then can the tables' metadata be read.
        events: list[Any] = []
        mark_warehouse_changed(pipeline)
        try:
            early = None if context.is_subset else early_build(settings, pipeline.policy, command)
            with importing_meanwhile(pipeline):
                started = (
                    _invocation(early, manifest, translator, project, context)
                    if early
                    else dbt.cli(command, context=context, target_path=settings.dbt_target)
                )
                events.extend(started.stream())
        except dg.Failure:
            yield from events  # show in the UI what was built, and which test failed, before the error
            failed = failed_tests(settings)
            if failed:
                raise dbt_test_failure(context.instance, context.run.run_id, failed) from None
            raise
        end_build(pipeline, build)
        metadata = read_table_metadata(settings)
        record_dbt_tests(pipeline, context.run.run_id)
        for event in events:
            yield _with_table_metadata(event, metadata, tables)

    return _warehouse


def _invocation(
    process: "Popen[bytes]",
    manifest: Path,
    translator: CreditloomTranslator,
    project: DbtProject,
    context: dg.AssetExecutionContext,
) -> DbtCliInvocation:
    """Return an object through which Dagster follows a dbt process that is already running."""
    return DbtCliInvocation(
        process=process,
        manifest=validate_manifest(manifest),
        dagster_dbt_translator=translator,
        project=project,
        project_dir=Path(project.project_dir),
        target_path=Path(project.target_path),
        raise_on_error=True,
        cli_version=Version(version("dbt-core")),
        context=context,
    )


def _with_table_metadata(
    event: Any, metadata: Mapping[str, TableMetadata], tables: Mapping[str, frozenset[str]]
) -> Any:
    """Add the row count, columns and column lineage of a table to the Dagster event about its dbt model.

    An event about anything else is returned unchanged.

    Args:
        event: an event from dbt's run.
        metadata: the metadata of the warehouse's tables, by the name of the model.
        tables: the lake tables that each source delivers, by the name of the source.
    """
    unique_id = event.metadata.get("unique_id") if isinstance(event, dg.Output | dg.AssetMaterialization) else None
    table = metadata.get(str(unique_id.value).rpartition(".")[2]) if unique_id else None
    if table is None:
        return event
    lineage = dg.TableColumnLineage(
        {
            column: [
                dg.TableColumnDep(dg.AssetKey(key), parent) for model, parent in parents for key in _keys(model, tables)
            ]
            for column, parents in table.made_from.items()
            if parents
        }
    )
    columns = [dg.TableColumn(c, kind, description=table.descriptions.get(c)) for c, kind in table.columns]
    rows = {"dagster/row_count": table.rows} if table.rows is not None else {}
    more = {"dagster/column_schema": dg.TableSchema(columns), "dagster/column_lineage": lineage, **rows}
    return event.with_metadata(metadata={**event.metadata, **more})


def _keys(model: str, tables: Mapping[str, frozenset[str]]) -> list[tuple[str, ...]]:
    """Return the asset keys that correspond to a dbt model or lake table from which a column is derived.

    A lake table has one key for each source that delivers it. A dbt model has a single key.
    """
    sources = [raw_asset(source, model) for source, names in tables.items() if model in names]
    return sources or [mart_asset(model)]


class InstalledDbt(DbtCliResource):
    """The dbt command line of this Python environment, in a faster form.

    Dagster would start dbt to get its version, which takes two seconds, so the version is read from the installed
    package. Dagster would also load dbt's adapter in this process, which takes as long. This is left out, because only
    Dagster's own queries about columns and row counts need it, and these are not used.
    """

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> Any:  # noqa: ARG002
        return None

    @cached_property
    def _cli_version(self) -> Version:
        return Version(version("dbt-core"))


def build_dbt_resource(pipeline: Pipeline) -> DbtCliResource:
    """Return the resource with which Dagster runs dbt's command line."""
    project = str(pipeline.settings.dbt_project)
    return InstalledDbt(project_dir=project, profiles_dir=project, dbt_executable=dbt_executable())
