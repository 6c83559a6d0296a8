"""Functions that read the policy file and report its errors.

All errors are reported together. The message for each error contains the line number, and describes what is wrong and
what is allowed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from yaml.constructor import SafeConstructor

from dagster_project.policy.keys import Place, find, keys, names_in
from dagster_project.policy.model import Policy

_MERGE = "tag:yaml.org,2002:merge"
# Keys of earlier versions of the policy file, as paths (`*` is any name), and their new names.
RENAMED_KEYS = {
    "defaults.thresholds.*.amount": "materiality_amount",
    "defaults.thresholds.*.share": "materiality_share",
    "defaults.thresholds.*.value_lost": "value_lost_max",
    "sources.*.snapshots_a_year": "observations_per_year",
}


class PolicyError(ValueError):
    """Raised if the policy file cannot be used.

    After its first line, the message has one line per error: `file:line: key: what is wrong`.
    """


def load_policy(path: Path) -> Policy:
    """Read and check a policy file.

    Raises:
        PolicyError: if the file cannot be read or is not YAML, if a key is missing, unknown or given twice, or if a
            value is not allowed.
    """
    document = _read(path)
    found = dict(document.problems)
    try:
        policy = Policy.model_validate(document.values)
    except ValidationError as error:
        for place, what in map(_problem, error.errors()):
            found.setdefault(place, what)
    if found:
        raise _refused(path, document, found.items())
    return policy


def problem_at(path: Path, place: Place, what: str) -> PolicyError:
    """Return an error about one key of a policy file that is otherwise valid. The caller must raise the error.

    `place` is the path of the key, and `what` is a text that describes what is wrong.
    """
    return _refused(path, _read(path), [(place, what)])


@dataclass
class _Document:
    """A YAML file as Python values.

    Attributes:
        values: the content of the file.
        lines: the line number of each key and list item, by its path.
        problems: the errors that were found while the YAML was converted to values, by the path of the key.
    """

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)
    problems: dict[Place, str] = field(default_factory=dict)

    def line(self, place: Place) -> int:
        """Return the line number of the key at `place`.

        If this key is not in the file, return the line number of the nearest key that encloses it, or 1 if there is
        none.
        """
        return next((self.lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self.lines), 1)


def _read(path: Path) -> _Document:
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"the policy cannot be read: {path}: {error}") from error
    except yaml.YAMLError as error:
        mark, what = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        raise PolicyError(f"the policy cannot be read:\n{path}:{mark.line + 1 if mark else 1}: {what}") from error
    if not isinstance(root, yaml.MappingNode):
        raise PolicyError(f"the policy cannot be read:\n{path}:1: it is empty, or no mapping of keys to values")
    document = _Document()
    document.values = _Nodes(document).value(root, ())
    return document


class _Nodes:
    """A converter from YAML nodes to Python values.

    Unlike `yaml.safe_load`, it records the line number of each key, and reports keys that are given twice.
    """

    def __init__(self, document: _Document) -> None:
        self._document, self._scalars, self._merged = document, SafeConstructor(), set[int]()

    def value(self, node: yaml.Node, place: Place, above: tuple[yaml.Node, ...] = ()) -> Any:
        if node in above:
            self._document.problems[place] = "an alias must not be within its own anchor"
        elif isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, (*above, node))
        elif isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*place, n), (*above, node)) for n, item in enumerate(node.value)]
        else:
            try:
                return self._scalars.construct_object(node)
            except (yaml.YAMLError, ValueError) as error:
                self._document.problems[place] = f"{node.value!r} cannot be read: {getattr(error, 'problem', error)}"
        return None

    def _mapping(self, node: yaml.MappingNode, place: Place, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        if id(node) not in self._merged:
            self._merged.add(id(node))
            self._note_twice(node, place)
            self._scalars.flatten_mapping(node)  # `<<` adds the keys of another mapping before its own keys
        if not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
            self._document.problems[place] = "each key must be text"
            return {}
        return {key.value: self._item(value, (*place, key.value), above, key) for key, value in node.value}

    def _item(self, node: yaml.Node, place: Place, above: tuple[yaml.Node, ...], key: yaml.Node | None = None) -> Any:
        self._document.lines[place] = (key or node).start_mark.line + 1
        return self.value(node, place, above)

    def _note_twice(self, node: yaml.MappingNode, place: Place) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            name = str(key.value)
            if name in seen and key.tag != _MERGE:
                self._document.problems[(*place, name)] = f"the key is given in line {seen[name]} already; keep one"
            seen[name] = key.start_mark.line + 1


_KEYS = keys()


def _problem(error: ErrorDetails) -> tuple[Place, str]:
    """Convert an error of the pydantic model to the path of the faulty key and a text for the user.

    The text describes what is wrong and, where possible, what is allowed.
    """
    place, kind, context = error["loc"], error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return place, _unknown(place)
    if place[-1:] == ("[key]",) and kind == "literal_error":
        return place[:-1], _unknown(place[:-1])
    if place[-1:] == ("[key]",):
        place = place[:-1]
    if "at" in context:
        return (*place, *context["at"]), error["msg"]
    if kind == "value_error":
        return place, str(context["error"])
    key = find(place, _KEYS)
    allowed = key.allowed() if key else "a mapping of keys to values"
    is_item = isinstance(place[-1], int)  # the item of a list, which has only one line
    if kind == "missing":
        wrong = "an item is missing" if is_item else "the key is missing"
    else:
        wrong = f"{_shown(error['input'])} is not allowed"
    return place[:-1] if is_item else place, f"{wrong}; allowed: {allowed}"


def _unknown(place: Place) -> str:
    path = ".".join(map(str, place))
    for old, new in RENAMED_KEYS.items():
        if fnmatchcase(path, old):
            return f"this key is now called {new}"
    names = names_in(place[:-1], _KEYS)
    nearest = get_close_matches(str(place[-1]), names, n=1)
    return f"unknown key; did you mean {nearest[0]}?" if nearest else f"unknown key; known here: {', '.join(names)}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    return "nothing" if value is None else repr(value)


def _refused(path: Path, document: _Document, problems: Iterable[tuple[Place, str]]) -> PolicyError:
    lines = sorted((document.line(place), ".".join(map(str, place)), what) for place, what in problems)
    listed = [f"{path}:{line}: {f'{place}: ' if place else ''}{what}" for line, place, what in lines]
    return PolicyError("\n".join(["the policy cannot be used:", *listed]))
