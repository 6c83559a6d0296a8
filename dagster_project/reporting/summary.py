"""The night's summary on the terminal, from the metric store."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

Value = float | int | str


def summary(metrics: Mapping[str, Value], sources: list[str], stages: Mapping[str, float]) -> Group:
    """Tables of what was ingested, checked, modelled and scored, and where the seconds went."""
    parts = [_ingested(metrics, sources), _models(metrics, sources), _night(metrics)]
    if stages:
        parts.append(_stages(stages))
    return Group(*parts)


def where_to_look(home: Path, snapshot: Path) -> Text:
    """Paths and commands for what comes next."""
    return Text.assemble(
        ("Where to look\n", "bold"),
        f"  snapshot   {snapshot}\n",
        f"  metrics    {snapshot / 'metrics.json'}\n",
        f"  data       {home}\n",
        "  screens    make up   (Dagster and MLflow, with their addresses)",
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    return table


def _amount(minor: Value) -> str:
    return f"{int(minor) // 100:,}.{int(minor) % 100:02d}"


def _ingested(metrics: Mapping[str, Value], sources: list[str]) -> Table:
    table = _table("Ingested", "source", "", "landed", "accepted", "quarantined", "duplicate")
    outcomes = ("landed", "accepted", "quarantined", "duplicate")
    for source in sources:
        rows = [f"{metrics[f'ingest.{source}.{o}_rows']:,}" for o in outcomes]
        amounts = [_amount(metrics[f"ingest.{source}.{o}_minor"]) for o in outcomes]
        table.add_row(source, "lines", *rows)
        table.add_row("", "amount", *amounts)
    return table


def _models(metrics: Mapping[str, Value], sources: list[str]) -> Table:
    names = ("version", "auc", "gini", "ks", "slope", "cv_auc", "cv_auc_performing")
    table = _table("Champions (out of sample)", "source", *names, "scores")
    for source in sources:
        values = [metrics.get(f"model.{source}.{name}", "-") for name in names]
        shown = [f"{v:.4f}" if isinstance(v, float) else str(v) for v in values]
        table.add_row(source, *shown, f"{metrics.get(f'scores.{source}.count', 0):,}")
    return table


def _night(metrics: Mapping[str, Value]) -> Table:
    table = _table("Night", "checks evaluated", "of declared", "failed", "warnings", "seconds", "peak MB")
    names = ("checks.evaluated", "checks.declared", "checks.failed", "checks.warned", "run.seconds", "run.peak_mb")
    table.add_row(*(str(metrics[name]) for name in names))
    return table


def _stages(stages: Mapping[str, float]) -> Table:
    """Checks are summed: there is one step for each table."""
    shown: dict[str, float] = {}
    for name, seconds in stages.items():
        key = "checks" if name.startswith("check_") else name
        shown[key] = shown.get(key, 0.0) + seconds
    table = _table("Seconds by stage", "stage", "seconds")
    for name, seconds in shown.items():
        table.add_row(name, f"{seconds:.1f}")
    return table
