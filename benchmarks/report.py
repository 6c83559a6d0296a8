"""The benchmarks' figures in docs/performance.md: tables, a chart, and a verdict on each target.

A night that did not publish is shown as failed. No ratio is shown for it, because it did not do all the work.
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
RUNS = ("first night", "next night", "retrain", "floor")
MILLION, HUNDRED_THOUSAND = 1_000_000, 100_000

Json = dict[str, Any]


def save(found: Json) -> None:
    """Write the measurements of one book size to `results/<loans>.json`."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{found['loans']}.json").write_text(json.dumps(found, indent=1) + "\n")


def load() -> list[Json]:
    """Return the saved measurements of all book sizes, starting with the smallest book.

    If nothing has been saved, the list is empty.
    """
    return sorted((json.loads(file.read_text()) for file in RESULTS.glob("*.json")), key=lambda found: found["loans"])


# --- figures of a size -----------------------------------------------------------------------------------------------


def middle(found: Json, run: str, what: str) -> float:
    """Return the median of one figure of a run over all turns.

    `found` has the measurements of one book size. `what` names the figure: `seconds`, `cpu_seconds` or `peak_mb`.
    """
    return float(median(turn[run][what] for turn in found["turns"]))


def stage(found: Json, run: str, name: str) -> float:
    """Return the median time of one stage of a run over all turns, in seconds.

    The floor can have several stages that do the same work as this stage. Their times are added up. A stage that was
    not measured counts as 0 seconds.
    """
    names = STAGES[name] if run == "floor" else (name,)
    return float(median(sum(turn[run]["stages"].get(n, 0.0) for n in names) for turn in found["turns"]))


def ratio(found: Json, run: str, what: str = "seconds") -> float:
    """Return a figure of a run divided by the same figure of the floor.

    The ratio is calculated for each turn, and the result is the median over all turns. `what` names the figure:
    `seconds`, `cpu_seconds` or `peak_mb`.
    """
    return float(median(turn[run][what] / turn["floor"][what] for turn in found["turns"]))


def failed(found: Json, run: str) -> bool:
    """Return whether the run failed in at least one turn."""
    return any(turn[run]["exit"] for turn in found["turns"])


def intake(found: Json, run: str) -> float:
    """Return the time that a run takes to load files and check the raw tables, in seconds."""
    return stage(found, run, "load") + stage(found, run, "raw checks")


# --- tables ----------------------------------------------------------------------------------------------------------


def table(results: list[Json]) -> str:
    """Return the measurements as Markdown.

    The text has one table that compares the book sizes, one table of stages for each size, and a line about the
    machine. Without results, it is a sentence that nothing has been measured.
    """
    if not results:
        return "Nothing has been measured yet."
    return "\n\n".join([_sizes(results), *(_stages(found) for found in results), _machine(results)])


def _sizes(results: list[Json]) -> str:
    lines = [
        "| loans | payments | floor | first night | ratio | by CPU | next night | retraining | memory | floor's |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for found in results:
        cells = [f"{found['loans']:,}", f"{found['simulate']['reported']['payment_rows']:,}"]
        cells += [_seconds(found, "floor"), _seconds(found, "first night")]
        ratios = (ratio(found, "first night", what) for what in ("seconds", "cpu_seconds"))
        cells += ["" if failed(found, "first night") else f"{value:.1f}" for value in ratios]
        cells += [_seconds(found, "next night"), _seconds(found, "retrain")]
        cells += [f"{middle(found, run, 'peak_mb'):,.0f} MB" for run in ("first night", "floor")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _seconds(found: Json, run: str) -> str:
    return "failed" if failed(found, run) else f"{middle(found, run, 'seconds'):,.1f} s"


def _stages(found: Json) -> str:
    aucs = {run: found["turns"][0][run]["reported"].get("auc") for run in ("first night", "floor")}
    models = ", ".join(f"{value:.4f} by the {run}" for run, value in aucs.items() if value is not None)
    lines = [
        f"Seconds by stage, {found['loans']:,} loans (AUC of the model out of sample: {models}):\n",
        f"| | {' | '.join(STAGES)} |",
        f"|---{'|---' * len(STAGES)}|",
    ]
    for run in RUNS:
        cells = [f"{value:,.1f}" if (value := stage(found, run, name)) else "" for name in STAGES]
        lines.append(f"| {run}{' (failed)' if failed(found, run) else ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


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


def verdicts(results: list[Json]) -> str:
    """Return one line of text per target.

    The line starts with PASS or MISSED and gives the measured figure. It starts with OPEN if the figure was not
    measured.
    """
    sizes = {found["loans"]: found for found in results}
    million, smaller = sizes.get(MILLION), sizes.get(HUNDRED_THOUSAND)
    bound = 1.5 * middle(million, "floor", "seconds") + 15 if million else 0.0
    lines = [
        _limit(
            "first night at 1,000,000 loans, seconds (1.5 times the floor, plus 15)",
            million and _figure(million, "first night", middle(million, "first night", "seconds")),
            bound,
        ),
        _limit(
            "its peak memory, MB",
            million and _figure(million, "first night", middle(million, "first night", "peak_mb")),
            4096,
        ),
        *(
            _limit(
                f"load and raw checks of the next night at {found['loans']:,} loans, share of the first night's",
                _figure(found, "next night", intake(found, "next night") / intake(found, "first night")),
                0.25,
            )
            for found in results
        ),
        _limit(
            "their seconds at 1,000,000 loans, ratio to those at 100,000",
            million and smaller and _figure(million, "next night", _growth(million, smaller)),
            1.3,
        ),
        _limit("simulating 1,000,000 loans, seconds", million and float(million["simulate"]["seconds"]), 90),
        _limit("its peak memory, MB", million and float(million["simulate"]["peak_mb"]), 4096),
    ]
    return "\n".join(lines)


def _figure(found: Json, run: str, value: float) -> float:
    """Return `value`, or infinity if the run failed.

    Infinity exceeds every limit, so a failed run misses its target.
    """
    return inf if failed(found, run) else value


def _growth(million: Json, smaller: Json) -> float:
    return intake(million, "next night") / intake(smaller, "next night")


def _limit(what: str, value: float | Json | None, limit: float) -> str:
    if not isinstance(value, float):
        return f"OPEN    {what}: not measured"
    figure = "failed" if value == inf else f"{value:,.2f}"
    return f"{'PASS  ' if value <= limit else 'MISSED'}  {what}: {figure}, at most {limit:,.2f}"


# --- the page --------------------------------------------------------------------------------------------------------


def write_page(results: list[Json]) -> None:
    """Write the tables, the chart and the verdicts to docs/performance.md.

    Only the text between the page's begin and end marks is replaced. Without results, no chart is drawn.
    """
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    shown = table(results)
    if results:
        draw(results)
        shown += f"\n\n![Seconds by stage](images/{CHART.name})\n\n```text\n{verdicts(results)}\n```"
    PAGE.write_text(f"{before}{BEGIN}\n\n{shown}\n\n{END}{after}")


def draw(results: list[Json]) -> None:
    """Draw a chart of the seconds by stage, and save it as an image.

    The chart has one panel per book size, and one bar for the floor and each of the runs.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 1.9 * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    for place, found in enumerate(results, start=1):
        axes = figure.add_subplot(len(results), 1, place)
        runs = RUNS[::-1]
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
