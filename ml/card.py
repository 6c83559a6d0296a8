"""The model card in Markdown.

It covers the purpose, performance, data, features and limits of a model, and how to reproduce the model. Every figure
comes from the candidate, the training set, their origin or the decision.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ml.candidate import OUT_OF_FOLD, Candidate
from ml.features import by_name
from ml.promote import Decision
from ml.reasons import FAMILIES
from ml.splits import BLOCKS, OUT_OF_TIME, SplitPolicy
from ml.training_set import TrainingSet
from ml.validate import Performance

_ROWS = {
    "oos": "out of sample",
    OUT_OF_FOLD: "out of fold",
    "all": "out of sample, with accounts already in default",
    OUT_OF_TIME: "out of time: the last months",
}
_RULES = {"bootstrap": "the policy's gate for a source's first champion was passed"}
_SIGNS = {1: " ↑", -1: " ↓", 0: ""}


@dataclass(frozen=True)
class Origin:
    """Facts for the model card that neither the model nor its training set contains.

    Attributes:
        title: the title of the source.
        contract_version: the version of the source's contract.
        deliveries: the number of deliveries of the source.
        lines: the number of accepted lines in these deliveries.
        horizon_months: the number of months after an observation in which a default counts, or None if the source
            itself reports the outcome.
        split: the buckets of each block.
        policy_version: the version of the policy file.
        git_revision: the revision of the code.
        training_set_sha256: the hash of the training set.
    """

    title: str
    contract_version: str
    deliveries: int
    lines: int
    horizon_months: int | None
    split: SplitPolicy
    policy_version: int
    git_revision: str
    training_set_sha256: str


def card(candidate: Candidate, training: TrainingSet, origin: Origin, decision: Decision) -> str:
    """Return the model card of a candidate as Markdown, including its promotion decision."""
    parts = (
        f"# {decision.model_name}, version {decision.model_version}: {decision.decision}",
        _summary(candidate, origin, decision),
        "## Performance\n\n" + _performance(candidate),
        "## Data\n\n" + _data(candidate, training, origin),
        "## Features\n\n" + _features(candidate),
        "## Limits\n\n" + _limits(candidate, origin),
        "## Reproduce\n\n" + _reproduce(origin, decision),
    )
    return "\n\n".join(parts) + "\n"


def _summary(candidate: Candidate, origin: Origin, decision: Decision) -> str:
    fit = candidate.model.fit
    return (
        f"**Purpose**: the probability of default (PD) of accounts of *{origin.title}* (`{decision.source}`), and the "
        f"score, grade and reasons that follow from it.\n\n"
        f"**Model**: XGBoost, {fit.best_iteration + 1} rounds, {len(fit.features)} features, monotone where a sign is "
        f"known; calibrated by Platt's line on `{candidate.calibrated_on}`.\n\n"
        f"**Decision**: {decision.decision} on {decision.decided_at:%Y-%m-%d %H:%M} UTC, by rule: "
        f"{_RULES.get(decision.reason, decision.reason)}."
    )


def _performance(candidate: Candidate) -> str:
    measured = {candidate.judged_on: candidate.performance, **candidate.performance_on}
    heads = ("measured", "rows", "defaults", "AUC (95 % interval)", "Gini", "KS", "Brier", "slope", "PD", "defaulted")
    table = _table(heads, [_measured(name, p) for name, p in measured.items()])
    cross, platt = candidate.cross_validation, candidate.model.platt
    crossed = f"AUC {cross.auc:.4f}, standard deviation over folds {cross.auc_sd:.4f}"
    return (
        f"{table}\n\nThe decision is based on the first line. Cross-validated on all labelled rows: {crossed}; "
        f"{cross.auc_performing:.4f} without accounts already in default.\n\n"
        f"**Calibration**: PD = sigmoid({platt.intercept:.4f} + {platt.slope:.4f} * margin). On the first line's rows "
        f"slope {candidate.performance.slope:.3f} (ideal 1), intercept {candidate.performance.intercept:.3f} (ideal 0)."
    )


def _measured(name: str, p: Performance) -> tuple[str, ...]:
    auc = f"{p.auc:.4f} ({p.auc_low:.4f} to {p.auc_high:.4f})"
    shares = (f"{p.gini:.4f}", f"{p.ks:.4f}", f"{p.brier:.4f}", f"{p.slope:.3f}", f"{p.mean_pd:.4f}")
    return _ROWS[name], f"{p.rows:,}", f"{p.defaults:,}", auc, *shares, f"{p.default_rate:.4f}"


def _data(candidate: Candidate, training: TrainingSet, origin: Origin) -> str:
    frame = training.frame
    first, last = training.months
    months = f"{first:%Y-%m}" if first == last else f"{first:%Y-%m} to {last:%Y-%m}"
    taken = ", ".join(f"{rows:,} {reason.replace('_', ' ')}" for reason, rows in candidate.exclusions.items())
    horizon = (
        "the outcome that the source itself reports"
        if origin.horizon_months is None
        else f"a default that begins within {origin.horizon_months} months"
    )
    ranges = {name: getattr(origin.split, name) for name in BLOCKS}
    blocks = [(name, f"{rows:,}", _buckets(ranges, name, origin.split)) for name, rows in candidate.block_rows.items()]
    return "\n".join(
        [
            f"- **Deliveries**: {origin.deliveries:,}, with {origin.lines:,} accepted lines, under contract "
            f"{origin.contract_version}",
            f"- **Population**: {frame.height:,} labelled observations of {frame['borrower_id'].n_unique():,} "
            f"borrowers, {months}",
            f"- **Excluded**: {taken or 'none'}",
            f"- **Label**: {horizon}",
            "- **Split**: by a hash of the borrower, so that a borrower is in one block",
            "",
            _table(("block", "rows", "what"), blocks),
        ]
    )


def _buckets(ranges: dict[str, tuple[int, int]], name: str, split: SplitPolicy) -> str:
    if name not in ranges:
        return f"the last {split.oot_months} months of observations"
    return f"buckets {ranges[name][0]} to {ranges[name][1]} of 100"


def _features(candidate: Candidate) -> str:
    features = by_name(candidate.model.fit.features)
    rows = []
    for family in FAMILIES:
        members = [f"`{f.name}`{_SIGNS[f.sign]}" for f in features if f.family == family.code]
        if members:
            rows.append((family.code, family.text, ", ".join(members)))
    table = _table(("code", "reason", "features"), rows)
    return f"As the value rises, the PD may only rise (↑), only fall (↓), or do either (no arrow).\n\n{table}"


def _limits(candidate: Candidate, origin: Origin) -> str:
    reasons = candidate.reasons
    lines = [
        f"Not for accounts other than those of *{origin.title}*: the model was trained and judged on these alone.",
        "Not for accounts already in default: they have grade D by rule, without the model.",
        "Not as the only ground of a decision about an account without a proven reason: a person decides.",
        f"Of {reasons.candidates:,} reasons, {reasons.direction_failures:,} failed the direction check and are not "
        "stated.",
        "Age, sex, marriage and education are never features. Whether outcomes differ between such groups is not "
        "measured here.",
    ]
    if OUT_OF_TIME not in candidate.block_rows:
        lines.append("Judged on other borrowers, not on later months: its stability over time is not known.")
    if candidate.judged_on == OUT_OF_FOLD:
        lines.append(
            "Judged out of fold, by the cross-validation's models: the out-of-sample block holds too few defaults."
        )
    return "\n".join(f"- {line}" for line in lines)


def _reproduce(origin: Origin, decision: Decision) -> str:
    return (
        "With the same deliveries, master key and policy, this revision makes a model of the same sha256:\n\n"
        f"- code `{origin.git_revision}`, policy version {origin.policy_version}: `creditloom night` into an empty "
        "data folder\n"
        f"- training set `{origin.training_set_sha256}`\n"
        f"- model `{decision.sha256}`, the hash that scoring checks"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with the given headings and rows.

    Each cell ends with a wide space, because MLflow leaves no space between columns.
    """
    lines = [" | ".join(f"{cell}&emsp;" for cell in cells) for cells in (heads, *rows)]
    lines.insert(1, " | ".join(["---"] * len(heads)))
    return "\n".join(f"| {line} |" for line in lines)
