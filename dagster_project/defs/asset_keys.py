"""The keys of all assets, and the key of the asset that each guard checks."""

from dagster_project.night.guards import Guard

QUARANTINE_ASSET = ("quarantine", "held_rows")
SCORES_ASSET = ("scores", "scores")
EARLY_WARNINGS_ASSET = ("early_warning", "early_warnings")
SNAPSHOT_ASSET = ("published", "snapshot")
NOTIFICATIONS_ASSET = ("early_warning", "notifications")


def portfolio_asset(table: str) -> tuple[str, ...]:
    """Asset key of a portfolio table that is computed from scores."""
    return ("portfolio", table)


def landing_asset(source: str) -> tuple[str, ...]:
    """Asset key of a source's delivered files."""
    return ("landing", source)


def raw_asset(source: str, table: str) -> tuple[str, ...]:
    """Asset key of a raw table."""
    return ("raw", source, table)


def mart_asset(name: str) -> tuple[str, ...]:
    """Asset key of a dbt model."""
    return ("warehouse", name)


def training_set_asset(source: str) -> tuple[str, ...]:
    """Asset key of a source's training set."""
    return ("model", source, "training_set")


def champion_asset(source: str) -> tuple[str, ...]:
    """Asset key of a source's champion."""
    return ("model", source, "champion")


def guarded_asset(guard: Guard) -> tuple[str, ...]:
    """Asset key of the table that a guard checks."""
    if guard.kind == "scores":
        return SCORES_ASSET
    if guard.kind == "training set":
        return training_set_asset(str(guard.source))
    if guard.kind == "raw":
        return raw_asset(str(guard.source), guard.suite.table)
    return portfolio_asset(guard.suite.table) if guard.kind == "portfolio" else mart_asset(guard.suite.table)
