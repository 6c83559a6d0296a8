"""Plots roll rates, prepayment and cumulative default of simulated car loans, and of auto loans in ABS-EE tapes.

    creditloom simulate --loans 40000 --months 60 --opened-within 12 --seed 1 --out simulated-home
    python docs/simulated_book_plots.py simulated-home [--tapes FOLDER] [--out FILE]

Without tapes it draws only the simulated part. It reads the files of both and imports nothing of the project. A folder
of tapes holds `loans.csv`, `outcomes.csv` and `payments/<month>.csv`, with the field names of the ABS-EE form.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import polars as pl

mpl.use("agg")
import matplotlib.pyplot as plt

PRODUCT = "car_loan"
MOVES = ((0, 1), (1, 0), (1, 1), (1, 2), (2, 3), (3, 4))
NAMES = ("0", "1", "2", "3", "4+")
LEAST_AT_RISK = 150
_STATES = {"current": 0, "1 behind": 1, "2 behind": 2, "3 behind": 3, "default": 4}
_BLUE, _ORANGE, _GREY = "#2b6cb0", "#c05621", "#718096"


def simulated(home: Path) -> pl.DataFrame:
    """Months of the car loans: loan, months on book, months behind, and flags for how the loan ended."""
    loans = _files(home, "loans").filter(pl.col("product") == PRODUCT)
    loans = loans.select(loan="loan_no", opened=pl.col("opened_on").str.to_date(), term=pl.col("term_months").cast(int))
    gone = _files(home, "events").filter(pl.col("kind") == "write_off")
    gone = gone.select(loan="loan_no", month_on=pl.col("event_on").str.to_date(), written_off=True)
    months = pl.read_parquet(home / "truth/loan_months/*.parquet").rename({"loan_id": "loan"})
    rows = months.join(loans, on="loan").join(gone, on=["loan", "month_on"], how="left").sort("loan", "month_on")
    rows = rows.with_columns(
        mob=_month("month_on") - _month("opened"),
        behind=pl.col("state").cast(pl.String).replace_strict(_STATES, default=None),
    )
    ends = pl.col("state") == "closed"
    ended = pl.col("written_off").fill_null(value=False).cum_sum().over("loan")
    return rows.filter((ended == 0) | pl.col("written_off")).select(
        "loan",
        "mob",
        "behind",
        closed=ends,
        prepaid=ends & (pl.col("mob") < pl.col("term")),
        written_off=pl.col("written_off").fill_null(value=False),
        defaulted=pl.col("behind").fill_null(0) == 4,
    )


def taped(folder: Path) -> pl.DataFrame:
    """The same for the tapes; months behind are imputed first in, first out from the first tape's instalment."""
    loans = pl.read_csv(folder / "loans.csv", infer_schema=False).select(
        loan="assetNumber",
        opened=pl.col("originationDate").str.to_date("%m/%Y", strict=False),
        instalment=pl.col("reportingPeriodScheduledPaymentAmount").cast(float, strict=False),
        first_balance=pl.col("reportingPeriodBeginningLoanBalanceAmount").cast(float, strict=False),
    )
    gone = pl.read_csv(folder / "outcomes.csv", infer_schema=False).filter(pl.col("charged_off") == "1")
    gone = gone.select(loan="assetNumber", gone_on=pl.col("charged_off_on").str.to_date())
    tapes = pl.concat([pl.read_csv(f, infer_schema=False) for f in sorted((folder / "payments").glob("*.csv"))])
    rows = tapes.select(
        loan="assetNumber",
        month_on=pl.col("reportingPeriodEndingDate").str.to_date(),
        balance=pl.col("reportingPeriodActualEndBalanceAmount").cast(float, strict=False),
        paid=pl.col("totalActualAmountPaid").cast(float, strict=False).fill_null(0),
    )
    rows = rows.join(loans, on="loan").join(gone, on="loan", how="left").sort("loan", "month_on")
    before = pl.coalesce(pl.col("balance").shift(1).over("loan"), "first_balance")
    due = pl.min_horizontal("instalment", before).clip(0)
    rows = rows.with_columns(
        mob=_month("month_on") - _month("opened"),
        arrears=(due.cum_sum().over("loan") - pl.col("paid").cum_sum().over("loan")),
        written_off=(_month("month_on") == _month("gone_on")).fill_null(value=False),
        is_over=(pl.col("balance") <= 0),
    )
    first_end = pl.col("is_over").cum_sum().over("loan") - pl.col("is_over").cast(int)
    late = (pl.col("month_on") > pl.col("gone_on")).fill_null(value=False)
    ended = pl.col("is_over") | pl.col("written_off")
    return rows.filter((first_end == 0) & ~late).select(
        "loan",
        "mob",
        behind=pl.when(~ended).then((pl.col("arrears") / pl.col("instalment") - 0.01).ceil().clip(0, 4).cast(int)),
        closed="is_over",
        prepaid=pl.col("is_over") & ~pl.col("written_off"),
        written_off="written_off",
        defaulted="written_off",
    )


def roll_rates(rows: pl.DataFrame) -> list[float]:
    """The share of each move among the loans in the state where it starts."""
    moved = rows.select(
        "behind", later=pl.col("behind").shift(-1).over("loan"), next=pl.col("mob").shift(-1).over("loan")
    )
    moved = moved.drop_nulls(["behind", "next"])
    return [
        float(moved.filter(pl.col("behind") == a).select((pl.col("later") == b).fill_null(value=False).mean()).item())
        for a, b in MOVES
    ]


def by_month(rows: pl.DataFrame, event: str) -> pl.DataFrame:
    """Hazard of an event by months on book, for the loans then under observation, and its cumulative incidence.

    Payoff is a competing event: loans that are paid off leave and can no longer have the event (Aalen-Johansen).
    """
    until = rows.filter(pl.col(event).cum_sum().over("loan") - pl.col(event).cast(int) == 0)
    leaves = (pl.col(event) | pl.col("closed")).mean()
    months = until.group_by("mob").agg(n=pl.len(), hazard=pl.col(event).mean(), leaves=leaves).sort("mob")
    enough = months.filter((pl.col("n") >= LEAST_AT_RISK) & (pl.col("mob") > 0))
    still = (1 - pl.col("leaves")).cum_prod().shift(1, fill_value=1)
    return enough.with_columns(cumulated=(still * pl.col("hazard")).cum_sum())


def draw(books: dict[str, tuple[pl.DataFrame, str]], out: Path) -> None:
    """Three panels: roll rates, prepayment, default."""
    plt.rcParams |= {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    figure, (rolls, prepays, losses) = plt.subplots(1, 3, figsize=(14, 4.3), layout="constrained")
    width = 0.8 / len(books)
    for n, (name, (rows, colour)) in enumerate(books.items()):
        places = [k + (n - (len(books) - 1) / 2) * width for k in range(len(MOVES))]
        bars = rolls.bar(places, roll_rates(rows), width, color=colour, label=name)
        rolls.bar_label(bars, fmt=lambda v: f"{v:.0%}" if v >= 0.095 else f"{v:.1%}", fontsize=7.5, padding=1)
        line = by_month(rows, "prepaid")
        smooth = line["hazard"].rolling_mean(3, min_samples=1, center=True)
        prepays.plot(line["mob"], smooth * 100, color=colour, label=name)
        for event, style in (("written_off", "-"), ("defaulted", "--")):
            line = by_month(rows, event)
            same = event == "defaulted" and rows["defaulted"].equals(rows["written_off"], check_names=False)
            if not same:
                label = "written off" if event == "written_off" else "ever 90 days past due"
                losses.plot(line["mob"], line["cumulated"] * 100, style, color=colour, label=f"{name}: {label}")
    rolls.set_xticks(range(len(MOVES)), [f"{NAMES[a]} → {NAMES[b]}" for a, b in MOVES])
    rolls.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1))
    rolls.set(ylim=(0, 1.0))
    prepays.set(xlabel="months on book")
    losses.set(xlabel="months on book")
    titles = {
        rolls: "Monthly roll rates, by instalments behind",
        prepays: "Paid off early, % of the open loans a month",
        losses: "Cumulated, % of loans",
    }
    for axes, title in titles.items():
        axes.set_title(title, loc="left", fontsize=11)
        axes.grid(axis="y", color="#e2e8f0", linewidth=0.8)
        axes.set_axisbelow(True)
        if axes is not rolls:
            axes.set_ylim(0, axes.dataLim.ymax * 1.3)  # room for the legend
        axes.legend(frameon=False, fontsize=8.5, loc="upper left" if axes is not rolls else "upper right")
        axes.tick_params(colors=_GREY, labelcolor="#2d3748")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110, metadata={"Software": None})


def _files(home: Path, table: str) -> pl.DataFrame:
    files = sorted((home / "landing").rglob(f"{table}-*.csv"))
    return pl.concat([pl.read_csv(f, infer_schema=False) for f in files])


def _month(column: str) -> pl.Expr:
    return (pl.col(column).dt.year() * 12 + pl.col(column).dt.month()).cast(int)


def main() -> None:
    """Read the arguments and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("home", type=Path, help="what `creditloom simulate --out` wrote")
    parser.add_argument("--tapes", type=Path, help="folder of ABS-EE tapes")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images/simulated-book.png")
    asked = parser.parse_args()
    books = {"simulated car loans": (simulated(asked.home), _BLUE)}
    if asked.tapes:
        books["auto loans of the tapes"] = (taped(asked.tapes), _ORANGE)
    draw(books, asked.out)


if __name__ == "__main__":
    main()
