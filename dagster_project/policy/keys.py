"""The keys that the policy file may have, with their paths, allowed values and meanings, as the model defines them."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types as limits
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dagster_project.policy.model import Policy

ANY = "<name>"  # stands in a path for a name that the user chooses
Place = tuple[str | int, ...]
_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    dt.date: "a date such as 2020-03-31",
}


@dataclass(frozen=True)
class Key:
    """A key in the policy file.

    Its content is a section with fixed keys, a mapping with names that the user chooses, or a single value.

    Attributes:
        path: the names from the top of the file down to the key. `ANY` stands for a name that the user chooses.
        reader: the field of the pydantic class that holds the key's content, as `Class.field`.
        field: the pydantic description of this field.
        section: the model class of the section, or None if the key is not a section with fixed keys.
    """

    path: tuple[str, ...]
    reader: str
    field: FieldInfo
    section: type[BaseModel] | None

    @property
    def dotted(self) -> str:
        """Return the path as text, with dots between the names."""
        return ".".join(self.path)

    @property
    def is_value(self) -> bool:
        """Return whether the key is a value. Sections and mappings with freely chosen names are not values."""
        return self.section is None and get_origin(_plain(self.field.annotation)) is not dict

    def allowed(self) -> str:
        """Return a text that describes the allowed values, such as `a number from 0 to 1`."""
        kind = _plain(self.field.annotation)
        if not self.is_value:
            return "a mapping of keys to values"
        if self.field.title:
            return self.field.title
        if get_origin(kind) is Literal:
            return f"one of {', '.join(map(str, get_args(kind)))}"
        return _within(_KINDS[kind], self.field.metadata)


def keys() -> list[Key]:
    """Return every key that the policy file may have, in the order of the model."""
    return list(_keys_of(Policy, ()))


def _keys_of(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        yield from _keys_at((*path, name), f"{model.__name__}.{name}", field)


def _keys_at(path: tuple[str, ...], reader: str, field: FieldInfo) -> Iterator[Key]:
    kind = _plain(field.annotation)
    section = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    yield Key(path, reader, field, section)
    if section:
        yield from _keys_of(section, path)
    elif get_origin(kind) is dict:
        yield from _keys_at((*path, ANY), f"{reader}[{ANY}]", FieldInfo.from_annotation(get_args(kind)[1]))


def _plain(annotation: Any) -> Any:
    """Return the type of an annotation without `| None` and without the metadata of `Annotated`."""
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (kind for kind in get_args(annotation) if kind is not NoneType)
    return FieldInfo.from_annotation(annotation).annotation


def find(place: Place, among: Sequence[Key]) -> Key | None:
    """Return the key from `among` at a place in the file.

    If there is no such key, return the nearest key that encloses the place, or None if there is none.
    """
    for length in range(len(place), 0, -1):
        for key in among:
            if len(key.path) == length and all(a in (ANY, b) for a, b in zip(key.path, place, strict=False)):
                return key
    return None


def names_in(place: Place, among: Sequence[Key]) -> list[str]:
    """Return the names of the keys that are allowed directly below a place in the file.

    The result is empty if the file can choose these names, or if no key at or above the place is known.
    """
    section = find(place, among) if place else None
    if place and section is None:
        return []
    model = section.section if section else Policy
    if model:
        return list(model.model_fields)
    kinds = get_args(_plain(section.field.annotation)) if section else ()
    return list(get_args(kinds[0])) if kinds and get_origin(kinds[0]) is Literal else []


def _within(kind: str, metadata: Sequence[Any]) -> str:
    """Return the kind of a value with its bounds as text, such as `a number from 0 to 1`.

    `metadata` is the metadata of the field, which includes the bounds.
    """
    bounds = {type(limit): limit for limit in metadata}
    low = [b.ge for b in bounds.values() if isinstance(b, limits.Ge)]
    high = [b.le for b in bounds.values() if isinstance(b, limits.Le)]
    over = [b.gt for b in bounds.values() if isinstance(b, limits.Gt)]
    under = [b.lt for b in bounds.values() if isinstance(b, limits.Lt)]
    if low and high:
        return f"{kind} from {low[0]} to {high[0]}"
    if any(isinstance(b, limits.MinLen) for b in bounds.values()):
        return f"{kind}, not empty"
    said = [f"{low[0]} or more"] if low else [f"above {over[0]}"] if over else []
    said += [f"at most {high[0]}"] if high else [f"below {under[0]}"] if under else []
    return ", ".join([kind, *said])
