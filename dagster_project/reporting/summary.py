"""The tables and texts that the commands print on the terminal."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dagster_project.reporting.month_comparison import Amount, Figure, MonthComparison

Value = float | int | str
_ROWS, _WARNINGS, _CHANGES = 50, 5, 20  # most rows that are shown
_OUTCOMES = ("landed", "accepted", "quarantined", "duplicate")


def summary(metrics: Mapping[str, Value], sources: list[str], stages: Mapping[str, float]) -> Group:
    """Return the summary of a night: deliveries, champions, portfolios, checks, and the duration of each step.

    `metrics` are the metrics of the night's snapshot. `stages` contains the seconds per step.
    """
    by_source = (table for name in sources for table in (_champion(metrics, name), _portfolio(metrics, name)))
    return Group(_ingested(metrics, sources), *by_source, _night(metrics, stages))


def where_to_look(home: Path, snapshot: Path) -> Text:
    """Return a text with the paths of the results, and with the command that starts the web UIs."""
    return Text.assemble(
        ("Where to look\n", "bold"),
        f"  snapshot   {snapshot}\n",
        f"  metrics    {snapshot / 'metrics.json'}\n",
        f"  data       {home}\n",
        "  web UIs    make up   (starts Dagster and MLflow, and shows their addresses)",
    )


def status_tables(status: Mapping[str, Any]) -> Group:
    """Return the tables for the status of a home.

    `status` is a dictionary of the fields of `operations.status.Status`.
    """
    night, colour = status["last_night"], {"fresh": "green", "late": "yellow"}.get(status["freshness"], "red")
    facts = {
        "published": f"[{colour}]{status['freshness']}[/]"
        + (
            f": snapshot {status['snapshot_id']}, verified {_moment(status['verified_at'])}"
            if status["snapshot_id"]
            else ""
        ),
        "last night": f"{night['state']}, {_moment(night['started_at'])}, run {night['run_id'][:8]}"
        if night
        else "none yet: run `creditloom night`",
    }
    if night and night["why"]:
        facts["why"] = escape(night["why"])
    if status["strays"]:
        facts["files of no source"] = escape(", ".join(status["strays"]))
    return Group(_facts("Creditloom", facts), *(_source(source) for source in status["sources"]))


def erasure_table(done: Mapping[str, Any]) -> Group:
    """Return the table for an erasure and its proof.

    `done` is a dictionary of the fields of `ingestion.persons.erasure.Erasure`.
    """
    facts = {"pseudonyms": ", ".join(done["pseudonyms"])}
    held, proof = done["held"], done["proof"]
    if held:
        facts["not erased"] = f"[yellow]held until {held['until']}[/]: {escape(held['reason'])}"
    if done["erased_before"]:
        facts["erased before"] = _moment(done["erased_before"])
    if proof:
        facts["key"] = "destroyed; a tombstone takes its place"
        facts["originals"] = (
            f"{done['rewritten']:,} rewritten; {done['records']:,} records no longer identify the person"
        )
        if done["destroyed"]:
            facts["destroyed"] = f"{done['destroyed']:,} refused files that could not be rewritten"
        facts["searched"] = (
            f"{proof['originals']:,} originals, {proof['quarantined_rows']:,} quarantined rows, {proof['files']:,} "
            f"files; {proof['vault_rows']:,} vault rows no longer have a key"
        )
        if proof["shared"]:
            facts["shared"] = (
                f"{proof['shared']:,} originals hold the same words in records of other persons, which stay"
            )
        left = "; ".join(escape(place) for place in proof["left"])
        facts["found"] = f"[red]{left}[/]" if left else "[green]nothing[/]"
    return Group(_facts(f"Erasure, {done['source']}", facts))


def held_rows(rows: pl.DataFrame) -> Group:
    """Return the table of the newest 50 rows of quarantined lines, followed by the messages of the rules.

    `rows` is the result of `ingestion.quarantine.held`.
    """
    table = _table(
        f"In quarantine: {rows['lines'].sum():,} lines", "file", "line", "delivery", "rule", "since", "state"
    )
    for row in rows.tail(_ROWS).iter_rows(named=True):
        line = str(row["line_no"]) if row["line_no"] else f"all {row['lines']:,}"
        since = f"{row['first_seen_at']:%Y-%m-%d}"
        place = escape(f"{row['source']}/{row['file_name']}")
        table.add_row(place, line, row["delivery_id"], escape(row["rule"]), since, row["state"])
    messages = sorted({(row["rule"], row["message"]) for row in rows.tail(_ROWS).iter_rows(named=True)})
    more = [f"only the newest {_ROWS} rows are shown; --json lists all"] if rows.height > _ROWS else []
    return Group(table, *(Text(f"{rule}: {message}") for rule, message in messages), *more)


def comparison_tables(comparison: MonthComparison) -> Group:
    """Return the tables for the comparison of a month: its figures, and the late rows grouped by loan and delivery.

    If no loan changed, there is no table of late rows.
    """
    reported = comparison.reported
    taken_in = f"taken in by {reported.taken_in_by:%Y-%m-%d %H:%M} UTC, when the month was first reported"
    if not reported.as_newest:
        taken_in = f"known on {reported.observed_on} and {taken_in}, together with later months"
    title = f"{comparison.source}, {comparison.month_on:%Y-%m}"
    facts = {"as reported": f"from rows {taken_in}"}
    if comparison.loans.is_empty():
        facts["changed since"] = "nothing"
        return Group(_facts(title, facts), _figures(comparison))
    facts["changed since"] = f"{comparison.loans.height:,} loans, by {comparison.rows.height:,} late or corrected rows"
    if comparison.unexplained:
        count, first = len(comparison.unexplained), comparison.unexplained[0]
        facts["unexplained"] = f"[bold red]{count:,} loans[/], first {first}"
    return Group(_facts(title, facts), _figures(comparison), _late_rows(comparison.rows))


def _figures(comparison: MonthComparison) -> Table:
    """Return the table of figures, without figures that are 0 or None in both versions of the month."""
    table = _table("Figures", "", "as reported", "as known now", "difference", "loans")
    for figure in comparison.figures:
        if figure.reported or figure.restated:
            cells = (_figure(figure, value) for value in (figure.reported, figure.restated, figure.difference))
            table.add_row(figure.name, *cells, f"{figure.loans:,}" if figure.loans else "")
    return table


def _figure(figure: Figure, value: Amount | None) -> str:
    if value is None:
        return ""
    return f"{value:.2%}" if "share" in figure.name else f"{value:,}"


def _late_rows(rows: pl.DataFrame) -> Table:
    """Return the table of the late or corrected rows, with at most 20 rows.

    If a loan has several late rows from one delivery, only the first is shown, followed by the number of the others.
    """
    grouped = rows.group_by("loan_id", "table", "file", "known_at", "ingested_at", maintain_order=True).agg(
        pl.col("line").min(), pl.len().alias("count"), pl.col("event_on").min(), pl.col("changed").first()
    )
    left = max(grouped.height - _CHANGES, 0)
    more = f"; --json lists {left:,} more" if left else ""
    table = _table(f"Late or corrected rows{more}", "loan", "row", "content")
    for column in table.columns:
        column.justify, column.no_wrap = "left", False
    for row in grouped.head(_CHANGES).iter_rows(named=True):
        dates = f"{row['event_on']}, known {row['known_at']}, taken in {row['ingested_at']:%Y-%m-%d}"
        content = [_change(change) for change in row["changed"] if change["after"] != str(row["event_on"])]
        content += [f"and {row['count'] - 1:,} more rows"] if row["count"] > 1 else []
        table.add_row(row["loan_id"], f"{row['file']}, line {row['line']}\n{dates}", "\n".join(content))
    return table


def _change(change: Mapping[str, str | None]) -> str:
    before = f"{change['before']} -> " if change["before"] is not None else ""
    return f"{change['column']} {before}{change['after']}"


def _source(source: Mapping[str, Any]) -> Table:
    newest = f", newest {source['newest_file']} at {_moment(source['newest_at'])}" if source["newest_file"] else ""
    champion = f"version {source['model_version']}, AUC {source['auc']:.4f}" if source["model_version"] else "none"
    facts = {
        "deliveries": f"{source['deliveries']:,}{newest}; {source['waiting_files']:,} files waiting"
        + (f", {source['unfinished_files']:,} incomplete" if source["unfinished_files"] else ""),
        "lines": f"{source['accepted_rows']:,} accepted; {source['quarantined_rows']:,} in quarantine"
        + (f", from {source['quarantined_files']:,} files" if source["quarantined_files"] else ""),
        "champion": f"{champion}; {source['scored']:,} accounts scored",
    }
    if source["model"] not in ("champion", "none yet"):
        facts["not scored"] = source["model"]
    return _facts(source["name"], facts)


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "never"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    return table


def _facts(title: str, facts: Mapping[str, str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=box.SIMPLE)
    for name, value in facts.items():
        table.add_row(Text(name, "dim"), value)
    return table


def _ingested(metrics: Mapping[str, Value], sources: list[str]) -> Table:
    table = _table("All deliveries so far", "source", "", "lines", "amount")
    for source in sources:
        for outcome in _OUTCOMES:
            name = source if outcome == _OUTCOMES[0] else ""
            prefix = f"ingest.{source}.{outcome}"
            table.add_row(name, outcome, f"{metrics[f'{prefix}_rows']:,}", _amount(metrics[f"{prefix}_minor"]))
    return table


def _amount(minor: Value) -> str:
    return f"{Decimal(int(minor)) / 100:,.2f}"


def _champion(metrics: Mapping[str, Value], source: str) -> Table:
    model = {name.rpartition(".")[2]: v for name, v in metrics.items() if name.startswith(f"model.{source}.")}
    if model["state"] != "champion":
        return _facts(f"{source} is not scored", {"why": str(model["state"])})
    scores = {name.rpartition(".")[2]: v for name, v in metrics.items() if name.startswith(f"scores.{source}.")}
    facts = {
        str(model["judged_on"])
        .replace("oos", "out of sample")
        .replace("_", " "): f"AUC {model['auc']:.4f} ({model['auc_low']:.4f} to {model['auc_high']:.4f})   "
        f"Gini {model['gini']:.4f}   KS {model['ks']:.4f}   slope {model['slope']:.3f}",
        "cross-validated": f"AUC {model['cv_auc']:.4f} on all accounts, "
        f"{model['cv_auc_performing']:.4f} without those in default",
        "scored": f"{scores['count']:,} accounts; {scores['in_default']:,} in default; "
        f"{scores['no_reason']:,} without a proven reason",
    }
    return _facts(f"Champion of {source}: version {model['version']}", facts)


def _portfolio(metrics: Mapping[str, Value], source: str) -> Table:
    """Return the table of a source's loans and expected loss by stage.

    A figure that is not completely available is listed with its status and the reason.
    """
    own = {name.split(".", 2)[2]: v for name, v in metrics.items() if name.startswith(f"portfolio.{source}.")}
    facts = {
        f"stage {stage}": f"{own[f'stage_{stage}.loans']:,} loans; "
        f"expected loss {_amount(own[f'stage_{stage}.expected_loss_minor'])} of "
        f"{_amount(own[f'stage_{stage}.exposure_at_default_minor'])} exposure at default"
        for stage in (1, 2, 3)
        if f"stage_{stage}.loans" in own
    }
    for name, status in own.items():
        if name.startswith("coverage.") and status != "available":
            facts[name.removeprefix("coverage.").replace("_", " ")] = str(status)
    return _facts(f"Portfolio of {source}", facts)


def _warnings(metrics: Mapping[str, Value]) -> str:
    """Return the early warnings as text, with at most five warnings per source.

    The first line contains the numbers of red and amber warnings in all sources.
    """
    red, amber = metrics.get("warnings.red", 0), metrics.get("warnings.amber", 0)
    lines = [f"{red} red, {amber} amber"]
    for name, value in metrics.items():
        if not name.startswith("warnings.") or not name.endswith(".open") or not value:
            continue
        source, opened = name.split(".")[1], str(value).split("; ")
        month = metrics[f"warnings.{source}.month"]
        lines += [f"{source} {month}: {escape(warning)}" for warning in opened[:_WARNINGS]]
        if len(opened) > _WARNINGS:
            lines.append(f"{source} {month}: and {len(opened) - _WARNINGS} more; see early_warnings.parquet")
    return "\n".join(lines)


def _night(metrics: Mapping[str, Value], stages: Mapping[str, float]) -> Table:
    """Return the table of a night's checks, warnings, memory use, and seconds per step.

    The seconds of all steps that run checks are added up and shown as one row.
    """
    seconds: dict[str, float] = {}
    for name, value in stages.items():
        key = "checks" if name.startswith("check_") else name
        seconds[key] = seconds.get(key, 0.0) + value
    facts = {
        "checks": f"{metrics['checks.evaluated']} evaluated of {metrics['checks.declared']} declared; "
        f"{metrics['checks.failed']} failed, {metrics['checks.warned']} warnings",
        "warnings": _warnings(metrics),
        "memory": f"{metrics['run.peak_mb']} MB in the largest process",
        "seconds": "\n".join(f"{value:>6.1f}  {name}" for name, value in seconds.items()),
    }
    return _facts("Night", facts)
