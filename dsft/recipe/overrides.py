"""Command-line overrides: ``section.key=value`` sets a key, ``~section.key`` removes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dsft.errors import did_you_mean
from dsft.recipe.document import COMMAND, KeyPath, Node, Place, Problem, child, read_yaml, shorten
from dsft.recipe.schema import resolved, schema_at

_FORM = "expected section.key=value to set a key, or ~section.key to remove one"


class _RefusedError(Exception):
    """An override that cannot be applied to the recipe; ``path`` is the key where it fails."""

    def __init__(self, path: KeyPath, message: str) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True)
class _Override:
    path: KeyPath
    new: Node | None
    """The new value; None removes the key."""


def apply_overrides(document: Node, overrides: Sequence[str], problems: list[Problem]) -> Node:
    """Return the recipe with the overrides applied in their order.

    Values are YAML 1.2. A mapping replaces the previous value. Keys of the recipe may be written with ``-`` instead
    of ``_``. An entry of a list is addressed by its index; the index after the last appends an entry.

    Args:
        document: The recipe.
        overrides: As typed, without the shell's quotes.
        problems: Receives the overrides that cannot be parsed or applied.
    """
    for number, text in enumerate(overrides, start=1):
        place = Place(COMMAND, number)
        override = _parse(text, place, problems)
        if override is None:
            continue
        try:
            if override.new is None:
                document = _without(document, override.path, ())
            else:
                document = _with(document, override.path, override.new, ())
        except _RefusedError as refused:
            problems.append(Problem(place, refused.path, f"{refused} Found {shorten(repr(text))}."))
    return document


def _parse(text: str, place: Place, problems: list[Problem]) -> _Override | None:
    removes = text.startswith("~")
    name, equals, value = text.removeprefix("~").partition("=")
    path = _path(name)
    if "" in path or bool(equals) == removes:
        problems.append(Problem(place, (), f"{_FORM}, found {shorten(repr(text))}."))
        return None
    if path[0] == "extends":
        problems.append(Problem(place, path, f"only a recipe file can extend another. Found {shorten(repr(text))}."))
        return None
    if removes:
        return _Override(path, None)
    complaints: list[Problem] = []
    new = read_yaml(value, lambda _line: place, complaints)
    found = f"Found {shorten(repr(text))}."
    problems.extend(Problem(place, (*path, *one.path), f"{one.message} {found}") for one in complaints)
    return None if new is None else _Override(path, new)


def _path(name: str) -> KeyPath:
    path: KeyPath = ()
    for part in name.strip().split("."):
        path = (*path, part if _has_own_names(path) else part.replace("-", "_"))
    return path


def _has_own_names(path: KeyPath) -> bool:
    """Return whether a value is a map with keys of the user's choice, such as names of classes or parameters."""
    entry = schema_at(path)
    choices = [resolved(entry), *entry.get("anyOf", [])] if entry is not None else []
    return any(choice.get("additionalProperties") for choice in choices)


def _with(node: Node, path: KeyPath, new: Node, done: KeyPath) -> Node:
    if not path:
        return new
    key, rest = path[0], path[1:]
    if node.value is None:
        node = Node([] if key.isdecimal() and not _has_own_names(done) else {}, new.place)
    part = _with(child(node, key) or Node(None, new.place), rest, new, (*done, key))
    if isinstance(node.value, dict):
        return Node({**node.value, key: part}, node.place)
    if isinstance(node.value, list):
        at = _index(node.value, key, done, len(node.value))
        return Node([*node.value[:at], part, *node.value[at + 1 :]], node.place)
    raise _RefusedError(done, f"is {node.value!r}, which has no key {key!r}.")


def _without(node: Node, path: KeyPath, done: KeyPath) -> Node:
    key, rest = path[0], path[1:]
    here = (*done, key)
    if isinstance(node.value, list):
        at = _index(node.value, key, done, len(node.value) - 1)
        kept = [_without(node.value[at], rest, here)] if rest else []
        return Node([*node.value[:at], *kept, *node.value[at + 1 :]], node.place)
    entries = node.value if isinstance(node.value, dict) else {}
    if key not in entries:
        there = [".".join((*done, name)) for name in entries]
        raise _RefusedError(here, f"cannot be removed: it is not in the recipe.{did_you_mean('.'.join(here), there)}")
    if rest:
        return Node({**entries, key: _without(entries[key], rest, here)}, node.place)
    return Node({name: part for name, part in entries.items() if name != key}, node.place)


def _index(entries: list[Node], key: str, path: KeyPath, last: int) -> int:
    if not key.isdecimal():
        raise _RefusedError(path, f"is a list: address an entry by its index, such as {'.'.join(path)}.0.")
    if int(key) > last:
        raise _RefusedError((*path, key), f"no such entry: the list has {len(entries)}, counted from 0.")
    return int(key)
