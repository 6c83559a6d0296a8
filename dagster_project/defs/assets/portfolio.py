"""The assets for the portfolio tables that are computed from scores, such as expected losses and grades."""

from collections.abc import Iterator

import dagster as dg

from dagster_project.defs.asset_keys import SCORES_ASSET, mart_asset, portfolio_asset
from dagster_project.defs.resources import NIGHT
from dagster_project.night.pipeline import Pipeline
from dagster_project.night.portfolio import write_tables
from dagster_project.policy import Policy
from dagster_project.portfolio.tables import DESCRIPTIONS

_MADE_FROM = (
    *("feat_loan_months", "label_loan_months", "port_exposures", "port_recoveries", "port_roll_rates"),
    *("port_transitions", "port_vintages", "port_client_money"),
)


def build_portfolio_assets(policy: Policy) -> dg.AssetsDefinition:
    """Return the assets for the portfolio tables, one per table.

    A single step computes all tables, because they use the same loans and PDs.
    """
    deps = [dg.AssetKey(SCORES_ASSET), *(dg.AssetKey(mart_asset(name)) for name in _MADE_FROM)]
    specs = [
        dg.AssetSpec(
            dg.AssetKey(portfolio_asset(name)),
            deps=deps,
            group_name="portfolio",
            kinds={"polars", "parquet"},
            owners=[policy.owners.risk],
            description=text,
        )
        for name, text in DESCRIPTIONS.items()
    ]

    @dg.multi_asset(name="portfolio", specs=specs, required_resource_keys={NIGHT})
    def _portfolio(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        pipeline: Pipeline = context.resources.night
        for name, rows in write_tables(pipeline).items():
            yield dg.MaterializeResult(
                asset_key=dg.AssetKey(portfolio_asset(name)), metadata={"dagster/row_count": rows}
            )

    return _portfolio
