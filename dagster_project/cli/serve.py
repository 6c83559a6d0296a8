"""Commands that start other programs for the home: the web UIs, and dbt."""

from typing import Annotated

import typer

from dagster_project.cli.shared import environment_pipeline, out, stop

commands = typer.Typer()


@commands.command()
def up(
    dagster_port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow UI.")] = 5000,
) -> None:
    """Start the Dagster UI, the Dagster daemon and the MLflow UI on this machine. Ctrl-C ends all three.

    If a port is in use, the next free port is used. The command prints the addresses.
    """
    from dagster_project.home.locks import NightRunningError, home_lock
    from dagster_project.home.version import HomeVersionError
    from dagster_project.operations.servers import serve

    pipeline = environment_pipeline()
    try:
        with home_lock(pipeline.settings.home, "up"):  # with two daemons on one instance, each night would run twice
            raise typer.Exit(serve(pipeline, dagster_port, mlflow_port, out.print))
    except (NightRunningError, HomeVersionError) as error:
        stop(str(error), 1)


@commands.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def dbt(context: typer.Context) -> None:
    """Run dbt on the warehouse of the home, with the variables from the policy.

    All arguments are passed on to dbt. Because dbt may change the warehouse, the next night builds it completely.

    Example: creditloom dbt build --select feat_loan_months
    """
    from dagster_project.defs.instance import prepare_home
    from dagster_project.home.locks import NightRunningError, home_lock
    from dagster_project.home.version import HomeVersionError
    from dagster_project.night.incremental_build import require_full_build
    from dagster_project.night.publish import mark_warehouse_changed
    from dagster_project.warehouse.runner import run_dbt

    pipeline = environment_pipeline()
    try:
        prepare_home(pipeline.settings)
        with home_lock(pipeline.settings.home):
            mark_warehouse_changed(pipeline)
            require_full_build(pipeline)
            raise typer.Exit(run_dbt(pipeline.settings, pipeline.policy, context.args).returncode)
    except (NightRunningError, HomeVersionError) as error:
        stop(str(error), 1)
