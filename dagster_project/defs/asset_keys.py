"""The keys of all assets, and a function that returns the key of the asset that a guard checks."""

from dagster_project.night.guards import Guard

QUARANTINE_ASSET = ("quarantine", "held_rows")
SCORES_ASSET = ("scores", "scores")
EARLY_WARNINGS_ASSET = ("early_warning", "early_warnings")
SNAPSHOT_ASSET = ("published", "snapshot")
NOTIFICATIONS_ASSET = ("early_warning", "notifications")


def portfolio_asset(table: str) -> tuple[str, ...]:
    """Return the key of the asset for one of the portfolio tables that are computed from scores."""
    return ("portfolio", table)


def landing_asset(source: str) -> tuple[str, ...]:
    """Return the key of the asset for the files that a source delivered."""
    return ("landing", source)


def raw_asset(source: str, table: str) -> tuple[str, ...]:
    """Return the key of the asset for a raw table of a source."""
    return ("raw", source, table)


def mart_asset(name: str) -> tuple[str, ...]:
    """Return the key of the asset for a dbt model."""
    return ("warehouse", name)


def training_set_asset(source: str) -> tuple[str, ...]:
    """Return the key of the asset for a source's training set."""
    return ("model", source, "training_set")


def champion_asset(source: str) -> tuple[str, ...]:
    """Return the key of the asset for a source's champion."""
    return ("model", source, "champion")


def guarded_asset(guard: Guard) -> tuple[str, ...]:
    """Return the key of the asset whose table a guard checks."""
    if guard.kind == "scores":
        return SCORES_ASSET
    if guard.kind == "training set":
        return training_set_asset(str(guard.source))
    if guard.kind == "raw":
        return raw_asset(str(guard.source), guard.suite.table)
    return portfolio_asset(guard.suite.table) if guard.kind == "portfolio" else mart_asset(guard.suite.table)
