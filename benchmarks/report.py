"""The section of docs/performance.md that `make bench` writes: tables, a chart, and a verdict on each target.

The cost of a run is its time divided by the time of the unit (`floor_v1.py`) in the same turn. A night that did not
publish is shown as failed. It has no ratio, because it did not do all the work. A run that was not measured is left
out.
"""

import json
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "images" / "performance.png"
BEGIN, END = "<!-- measured by make bench: begin -->", "<!-- measured by make bench: end -->"
# The stages of a run, each with the stages of the floor that do the same work.
STAGES = {
    "load": ("load",),
    "raw checks": ("raw checks",),
    "dbt": ("loan months", "features"),
    "checks": ("mart checks",),
    "training": ("training set", "training", "mean contributions"),
    "scoring": ("scoring",),
    "publishing": (),
    "rest": ("rest",),
}
RUNS = ("first night", "next night", "month end", "late rows", "nothing new", "retrain", "floor", "unit")
FLOORS = ("floor", "unit")
NIGHTS = ("next night", "month end", "late rows", "nothing new", "retrain")
# The most that a first night may cost, in multiples of the unit, by the number of loans.
FIRST_NIGHT = {10_000: 11.0, 100_000: 4.5, 1_000_000: 3.4}
# The most memory that all processes of a first night may have together, in MB, by the number of loans.
MEMORY = {10_000: 1_300, 1_000_000: 4_096}
CARDS = RESULTS / "cards" / "cards.json"
MILLION, HUNDRED_THOUSAND = 1_000_000, 100_000

Json = dict[str, Any]


def save(found: Json) -> None:
    """Write the measurements of one book size to `results/<loans>.json`."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{found['loans']}.json").write_text(json.dumps(found, indent=1) + "\n")


def load() -> list[Json]:
    """Return the saved measurements of all book sizes, sorted by the number of loans.

    If nothing has been saved, the list is empty.
    """
    return sorted((json.loads(file.read_text()) for file in RESULTS.glob("*.json")), key=lambda found: found["loans"])


def save_cards(found: Json) -> None:
    """Write the measurements on the card data to `results/cards/cards.json`."""
    CARDS.parent.mkdir(exist_ok=True)
    CARDS.write_text(json.dumps(found, indent=1) + "\n")


def load_cards() -> Json | None:
    """Return the saved measurements on the card data, or None if nothing was saved."""
    return json.loads(CARDS.read_text()) if CARDS.exists() else None


# --- figures of a size -----------------------------------------------------------------------------------------------


def middle(found: Json, run: str, what: str) -> float:
    """Return the median of one figure of a run over all turns.

    `found` has the measurements of one book size. `what` names the figure: `seconds`, `cpu_seconds` or `peak_mb`.
    """
    return float(median(turn[run][what] for turn in found["turns"]))


def stage(found: Json, run: str, name: str) -> float:
    """Return the median time of one stage of a run over all turns, in seconds.

    If the run is a floor, the times of all its stages that do the same work as this stage are added up. A stage that
    was not measured counts as 0 seconds.
    """
    names = STAGES[name] if run in FLOORS else (name,)
    return float(median(sum(turn[run]["stages"].get(n, 0.0) for n in names) for turn in found["turns"]))


def ratio(found: Json, run: str, what: str = "seconds", of: str = "unit") -> float | None:
    """Return a figure of a run divided by the same figure of another run, named by `of`.

    The ratio is calculated for each turn, and the result is the median over all turns. `what` is the name of the
    figure: `seconds`, `cpu_seconds` or `peak_mb`. Returns None if the first run failed, or if one of the two runs was
    not measured.
    """
    if not (measured(found, run) and measured(found, of)) or failed(found, run):
        return None
    return float(median(turn[run][what] / turn[of][what] for turn in found["turns"]))


def measured(found: Json, run: str) -> bool:
    """Return whether the run was measured in every turn."""
    return all(run in turn for turn in found["turns"])


def failed(found: Json, run: str) -> bool:
    """Return whether the run failed in at least one turn."""
    return any(turn[run]["exit"] for turn in found["turns"])


def intake(found: Json, run: str) -> float:
    """Return the time in seconds that a run takes to load files and check the raw tables.

    The two times are medians over all turns.
    """
    return stage(found, run, "load") + stage(found, run, "raw checks")


# --- tables ----------------------------------------------------------------------------------------------------------


def table(results: list[Json], cards: Json | None = None) -> str:
    """Return all measurements as Markdown.

    The text has these parts: a table that compares the book sizes, a table of the later runs, a sentence about the card
    data if it was measured, one table of stages for each size, and a line about the machine. If `results` is empty, the
    text is one sentence that says that nothing has been measured.
    """
    if not results:
        return "Nothing has been measured yet."
    stages = (_stages(found) for found in results)
    return "\n\n".join(
        [_sizes(results), _runs(results), *([_cards(cards)] if cards else []), *stages, _machine(results)]
    )


def _sizes(results: list[Json]) -> str:
    lines = [
        "| loans | payments | unit | floor | first night | of the unit | of the floor | by CPU | memory | floor's |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for found in results:
        cells = [f"{found['loans']:,}", f"{found['simulate']['reported']['payment_rows']:,}"]
        cells += [_seconds(found, run) for run in ("unit", "floor", "first night")]
        cells += [_times(ratio(found, "first night")), _times(ratio(found, "first night", of="floor"))]
        cells += [_times(ratio(found, "first night", "cpu_seconds", "floor"))]
        cells += [f"{middle(found, run, 'peak_mb'):,.0f} MB" for run in ("first night", "floor")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _runs(results: list[Json]) -> str:
    """Return a Markdown table with the seconds of the later runs for each book size.

    Each time is followed by its ratio to the time of the first night.
    """
    lines = [f"| loans | {' | '.join(NIGHTS)} |", f"|---{'|---' * len(NIGHTS)}|"]
    for found in results:
        cells = [f"{found['loans']:,}"]
        for run in NIGHTS:
            share = ratio(found, run, of="first night")
            cells.append(_seconds(found, run) + ("" if share is None else f" ({share:.2f})"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cards(cards: Json) -> str:
    """Return a sentence with the figures of the card data."""
    first, again, bare = (middle(cards, run, "seconds") for run in ("first night", "nothing new", "import dagster"))
    memory = middle(cards, "first night", "peak_mb")
    return (
        f"`make run` on the card data, set up: {first:.1f} s, {memory:,.0f} MB. The night after it, which finds nothing"
        f" new: {again:.1f} s. `python -c 'import dagster'`: {bare:.1f} s (medians of {len(cards['turns'])})."
    )


def _seconds(found: Json, run: str) -> str:
    if not measured(found, run):
        return ""
    return "failed" if failed(found, run) else f"{middle(found, run, 'seconds'):,.1f} s"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _stages(found: Json) -> str:
    aucs = {run: found["turns"][0][run]["reported"].get("auc") for run in ("first night", "floor")}
    models = ", ".join(f"{value:.4f} by the {run}" for run, value in aucs.items() if value is not None)
    lines = [
        f"Seconds by stage, {found['loans']:,} loans (AUC of the model out of sample: {models}):\n",
        f"| | {' | '.join(STAGES)} |",
        f"|---{'|---' * len(STAGES)}|",
    ]
    for run in _measured_runs(found):
        cells = [f"{value:,.1f}" if (value := stage(found, run, name)) else "" for name in STAGES]
        lines.append(f"| {run}{' (failed)' if failed(found, run) else ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _measured_runs(found: Json) -> list[str]:
    return [run for run in RUNS if measured(found, run)]


def _machine(results: list[Json]) -> str:
    machines = {
        f"{found['machine']['cores']} cores, {found['machine']['memory_gb']} GB, Python {found['machine']['python']}"
        for found in results
    }
    load = max(found["machine"]["load_before"] for found in results)
    turns = ", ".join(f"{len(found['turns'])} at {found['loans']:,}" for found in results)
    return (
        f"Measured on {' and '.join(sorted(machines))}; turns: {turns}; medians are shown."
        f" Before a size began, other work put a load of at most {load:.1f} on the machine."
    )


# --- targets ---------------------------------------------------------------------------------------------------------


def verdicts(results: list[Json], cards: Json | None = None) -> str:
    """Return one line of text per target.

    A line starts with PASS or MISSED and gives the measured figure and the limit. It starts with OPEN if the figure was
    not measured.
    """
    sizes = {found["loans"]: found for found in results}
    million, smaller = sizes.get(MILLION), sizes.get(HUNDRED_THOUSAND)
    lines = [
        *(
            _limit(
                f"first night at {loans:,} loans, multiple of the unit",
                loans in sizes and _ratio(sizes[loans], "first night", "unit"),
                limit,
            )
            for loans, limit in FIRST_NIGHT.items()
        ),
        *(
            _limit(
                f"its memory at {loans:,} loans, all processes, MB",
                loans in sizes and _figure(sizes[loans], "first night", middle(sizes[loans], "first night", "peak_mb")),
                limit,
            )
            for loans, limit in MEMORY.items()
        ),
        _limit(
            "next night with a day's rows at 1,000,000 loans, share of the first night",
            million and _ratio(million, "next night", "first night"),
            0.25,
        ),
        *(
            _limit(
                f"load and raw checks of the next night at {found['loans']:,} loans, share of the first night's",
                _figure(found, "next night", intake(found, "next night") / intake(found, "first night")),
                0.25,
            )
            for found in results
            if found["loans"] >= HUNDRED_THOUSAND  # for fewer loans, both are too short to compare
        ),
        _limit(
            "their seconds at 1,000,000 loans, ratio to those at 100,000",
            million and smaller and _figure(million, "next night", _growth(million, smaller)),
            1.3,
        ),
        _limit(
            "cards: a night that finds nothing new, multiple of `python -c 'import dagster'`",
            cards and _ratio(cards, "nothing new", "import dagster"),
            2.0,
        ),
        _limit("simulating 1,000,000 loans, seconds", million and float(million["simulate"]["seconds"]), 90),
        _limit("its peak memory, MB", million and float(million["simulate"]["peak_mb"]), 4096),
    ]
    return "\n".join(lines)


def _ratio(found: Json, run: str, of: str) -> float | None:
    """Return the time of a run divided by the time of the run `of`, as the median over all turns.

    Returns infinity if the run failed, and None if one of the two runs was not measured.
    """
    if measured(found, run) and failed(found, run):
        return inf
    return ratio(found, run, of=of)


def _figure(found: Json, run: str, value: float) -> float:
    """Return `value`, or infinity if the run failed.

    Infinity exceeds every limit, so a failed run misses its target.
    """
    return inf if failed(found, run) else value


def _growth(million: Json, smaller: Json) -> float:
    return intake(million, "next night") / intake(smaller, "next night")


def _limit(what: str, value: float | Json | bool | None, limit: float) -> str:
    if not isinstance(value, float):
        return f"OPEN    {what}: not measured"
    figure = "failed" if value == inf else f"{value:,.2f}"
    return f"{'PASS  ' if value <= limit else 'MISSED'}  {what}: {figure}, at most {limit:,.2f}"


# --- the page --------------------------------------------------------------------------------------------------------


def write_page(results: list[Json], cards: Json | None) -> None:
    """Write the tables, the chart and the verdicts to docs/performance.md.

    Only the text between the page's begin and end marks is replaced. Without results, no chart is drawn.
    """
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    shown = table(results, cards)
    if results:
        draw(results)
        shown += f"\n\n![Seconds by stage](images/{CHART.name})\n\n```text\n{verdicts(results, cards)}\n```"
    PAGE.write_text(f"{before}{BEGIN}\n\n{shown}\n\n{END}{after}")


def draw(results: list[Json]) -> None:
    """Draw a bar chart of the seconds of each stage, and save it as `CHART`.

    The chart has one panel per book size. A panel has one bar for each run that was measured, including the floor and
    the unit.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 2.6 * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    for place, found in enumerate(results, start=1):
        axes = figure.add_subplot(len(results), 1, place)
        runs = _measured_runs(found)[::-1]
        left = [0.0] * len(runs)
        for name in STAGES:
            width = [stage(found, run, name) for run in runs]
            axes.barh(runs, width, left=left, label=name)
            left = [begin + more for begin, more in zip(left, width, strict=True)]
        axes.set_title(f"{found['loans']:,} loans", loc="left", fontsize=10)
        axes.set_xlabel("seconds" if place == len(results) else "")
        axes.spines[["top", "right"]].set_visible(False)
        if place == 1:
            axes.legend(ncols=len(STAGES), fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.1))
    figure.savefig(CHART, dpi=110, metadata={"Software": None})
