"""SHAP contributions of shallow trees, computed with lookup tables.

The values are the same as XGBoost's own contributions, but take a fraction of the time. A tree of depth 3 has at most 7
splits. There are therefore at most 128 patterns of decisions that a row can make in the tree. For each pattern, the
exact contributions of the tree's features are computed once and stored in a table. The contributions of a row are
looked up in this table.

The values are those of path-dependent TreeSHAP: S. Lundberg, G. Erion, S. Lee, "Consistent Individualized Feature
Attribution for Tree Ensembles" (2018). For a leaf with value v, let F be the set of features that are used in the
splits on the path to the leaf. The contribution of feature i is

    v * (one_i - zero_i) * sum over the subsets S of F without i of
        |S|! (|F| - |S| - 1)! / |F|! * product of one_j over j in S * product of zero_j over the other j in F without i,

where one_j is 1 if the row's decisions at the splits by feature j lead to the leaf, and 0 if not. zero_j is the share
of the training data's weight that follows the path at these splits. XGBoost adds up in 32-bit floats and these tables
in 64-bit floats, so the two results differ by a few millionths of a logit.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from math import factorial, prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xgboost as xgb

MAX_DEPTH = 3
_ROWS_AT_ONCE = 1 << 15  # their values and sums stay in the processor's cache
_LEAF = -1


@dataclass(frozen=True)
class _Split:
    """A split of a tree.

    A row goes left if its value of the feature is below `threshold`. A row without a value goes left if `missing_left`
    is true.
    """

    feature: int
    threshold: np.float32
    missing_left: bool


@dataclass(frozen=True)
class _Tree:
    """The splits of a tree, and the contributions for each pattern of decisions.

    `features` are the indexes of the features that the splits use. `table` contains the contributions in logits, with
    shape (2 ** number of splits, number of these features). The row number of `table` encodes the decisions: its bit b
    is 1 if the row of data goes left at split b.
    """

    splits: tuple[_Split, ...]
    features: tuple[int, ...]
    table: np.ndarray


@dataclass(frozen=True)
class TreeTables:
    """The lookup tables of all trees of a booster.

    `features` is the number of features of the booster. `bias` is the last column of XGBoost's contributions, in
    logits. It is the same for all rows.
    """

    trees: tuple[_Tree, ...]
    features: int
    bias: float

    def contributions(self, values: np.ndarray, threads: int = 2) -> np.ndarray:
        """Return the SHAP contributions in logits, with shape (rows, features + 1). The last column is the bias.

        `values` contains 32-bit floats with shape (rows, features). Missing values are NaN.
        """
        result = np.zeros((len(values), self.features + 1))
        result[:, -1] = self.bias
        parts = [slice(begin, begin + _ROWS_AT_ONCE) for begin in range(0, len(values), _ROWS_AT_ONCE)]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: self._add(values[part], result[part]), parts))
        return result

    def _add(self, values: np.ndarray, result: np.ndarray) -> None:
        columns = np.ascontiguousarray(values.T)
        missing = np.isnan(columns)
        sums = np.zeros((self.features, len(values)))
        for tree in self.trees:
            pattern = np.zeros(len(values), dtype=np.uint8)
            for bit, split in enumerate(tree.splits):
                left = columns[split.feature] < split.threshold  # false for a missing value
                if split.missing_left:
                    left |= missing[split.feature]
                pattern |= left.view(np.uint8) << np.uint8(bit)
            for place, feature in enumerate(tree.features):
                sums[feature] += tree.table[:, place].take(pattern)
        result[:, :-1] = sums.T


def tables_of(booster: "xgb.Booster", rounds: int) -> TreeTables | None:
    """Return the lookup tables of a booster's first `rounds` trees.

    Returns None if any of these trees has more than 3 levels of splits.
    """
    names = booster.feature_names or []
    saved = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]["model"]["trees"][:rounds]
    trees = []
    for tree in saved:
        paths = list(_paths(tree))
        if max(len(path) for path, _ in paths) > MAX_DEPTH:
            return None
        trees.append(_tabulate(tree, paths))
    return TreeTables(tuple(trees), len(names), _bias(booster, rounds))


def _bias(booster: "xgb.Booster", rounds: int) -> float:
    """Return the bias in XGBoost's contributions, in logits. It is the same for every row."""
    import xgboost as xgb

    row = xgb.DMatrix(np.full((1, len(booster.feature_names or [])), np.nan), feature_names=booster.feature_names)
    return float(booster.predict(row, iteration_range=(0, rounds), pred_contribs=True)[0, -1])


def _paths(tree: dict[str, Any]) -> Iterator[tuple[tuple[tuple[int, bool], ...], int]]:
    """Yield (path, leaf) for each leaf of a tree.

    `leaf` is the node number of the leaf. `path` contains the splits from the root to the leaf, each as (node number,
    whether the path goes left).
    """
    waiting: list[tuple[int, tuple[tuple[int, bool], ...]]] = [(0, ())]
    while waiting:
        node, path = waiting.pop()
        left, right = tree["left_children"][node], tree["right_children"][node]
        if left == _LEAF:
            yield path, node
        else:
            waiting += [(left, (*path, (node, True))), (right, (*path, (node, False)))]


def _tabulate(tree: dict[str, Any], paths: list[tuple[tuple[tuple[int, bool], ...], int]]) -> _Tree:
    nodes = sorted({node for path, _ in paths for node, _ in path})
    features = sorted({tree["split_indices"][node] for node in nodes})
    patterns = np.arange(2 ** len(nodes))
    goes_left = {node: (patterns >> bit) & 1 == 1 for bit, node in enumerate(nodes)}
    table = np.zeros((len(patterns), len(features)))
    for path, leaf in paths:
        deciding = sorted({tree["split_indices"][node] for node, _ in path})
        one = {f: np.ones(len(patterns)) for f in deciding}
        zero = dict.fromkeys(deciding, 1.0)
        for node, is_left in path:
            feature = tree["split_indices"][node]
            child = tree["left_children" if is_left else "right_children"][node]
            one[feature] = one[feature] * (goes_left[node] == is_left)
            zero[feature] *= tree["sum_hessian"][child] / tree["sum_hessian"][node]
        for feature in deciding:
            others = [f for f in deciding if f != feature]
            share = np.zeros(len(patterns))
            for size in range(len(others) + 1):
                weight = factorial(size) * factorial(len(others) - size) / factorial(len(deciding))
                for given in combinations(others, size):
                    unknown = prod(zero[f] for f in others if f not in given)
                    share += weight * unknown * prod((one[f] for f in given), start=np.ones(len(patterns)))
            value = tree["split_conditions"][leaf]  # for a leaf: its value
            table[:, features.index(feature)] += value * share * (one[feature] - zero[feature])
    splits = tuple(
        _Split(
            tree["split_indices"][node], np.float32(tree["split_conditions"][node]), bool(tree["default_left"][node])
        )
        for node in nodes
    )
    return _Tree(splits, tuple(features), table)
