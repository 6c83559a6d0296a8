"""The texts that MLflow shows for a source's experiment: run names, the description and the saved view.

`ml.registry` writes these texts to MLflow. The text about a single model is made in `ml.card`.
"""

import base64
import json
import zlib

from ml.candidate import Candidate
from ml.training_set import TrainingSet

# The address of the view is .../#/experiments/<id>/runs?viewStateShareKey=<key>. MLflow also lists it under "Views".
VIEW_KEY, VIEW_NAME = "compare", "Compare models"
UNDECIDED = "undecided"
CURVE = "learning_curve"
CURVE_POINTS = 200

# The columns that fit on a screen beside the run's name. MLflow's comparison plots the first one by default.
COMPARED = ("auc", "auc_low", "brier", "cv_auc", "ks", "slope")

_ABOUT = """\
Models of the probability of default (PD) of **{title}** (source `{source}`). One run is one trained model; the version
in its name is that of the registered model [{model}](#/models/{model}), whose description is the champion's card.

[Open the view "{view}"](#/experiments/{experiment}/runs?viewStateShareKey={key}), or choose it under *Views*. The
promotion ledger decides which model scores; the alias `champion` shows it.

**Compare first**

| metric | how to read it |
|---|---|
| `auc`, between `auc_low` and `auc_high`&emsp; | ranking on rows that the model did not see, with its 95 % interval |
| `slope` and `intercept` | calibration there; ideal 1 and 0 |
| `brier`, `ks`, `gini` | on the same rows |
| `cv_auc` and `cv_auc_sd` | cross-validated: mean over folds, and their standard deviation |

Two runs can be compared only if their tags `judged_on` and `split` are equal.

**Other names**: `auc_<rows>` and `slope_<rows>` are measured on other rows (`all`: with accounts already in default;
`oos`: out of sample; `oot`: out of time; `train`, `val`: at the best round, to see how closely the model fits).
`ablation_…_auc`: the behavioural features alone, and with one block added. `rows_<block>`, `excluded_<reason>`: the
data. `reason_…`: the proof of reasons. `{curve}/…`: one point per boosting round.

**Search**: `tags.decision = 'held'`, `tags.judged_on = 'oos'`, `tags.split`, `tags.calibrated_on`,
`tags.training_set_sha256`, `metrics.auc > 0.75`.
"""


def run_name(candidate: Candidate, training: TrainingSet, status: str = UNDECIDED) -> str:
    """Return the name of a run in MLflow.

    The most distinctive part comes first, because MLflow's table shows about 25 characters. `status` is the model's
    version and decision, or `undecided` before the decision.
    """
    features, (_, last) = len(candidate.model.fit.features), training.months
    return f"{status} · AUC {candidate.performance.auc:.4f} · xgboost, {features} features · data to {last:%Y-%m}"


def about(source: str, title: str, model: str, experiment_id: str) -> str:
    """Return the description of a source's experiment, in Markdown.

    Args:
        source: the name of the source.
        title: the title of the source.
        model: the name of the registered model.
        experiment_id: MLflow's ID of the experiment, for the link to the saved view.
    """
    return _ABOUT.format(
        source=source, title=title, model=model, experiment=experiment_id, view=VIEW_NAME, key=VIEW_KEY, curve=CURVE
    )


def compare_view() -> str:
    """Return the saved view of an experiment's runs, in the form in which MLflow stores it in a tag.

    The view shows the columns `COMPARED` and lists the newest run first.
    """
    state = {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [f"metrics.`{name}`" for name in COMPARED],
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "FIRST_10_RUNS",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps({"name": VIEW_NAME, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"})


def curve_rounds(rounds: int, best: int) -> list[int]:
    """Return the indices of the boosting rounds to plot.

    These are fewer than `CURVE_POINTS` evenly spaced rounds, the best round and the last round.

    >>> curve_rounds(5, 2)
    [0, 1, 2, 3, 4]
    >>> len(curve_rounds(2000, 1234)), 1234 in curve_rounds(2000, 1234), curve_rounds(2000, 1234)[-1]
    (184, True, 1999)
    """
    step = -(-rounds // (CURVE_POINTS - 1))
    return sorted({*range(0, rounds, step), best, rounds - 1})
