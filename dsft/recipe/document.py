"""A recipe's text as a tree in which every value knows the file and line it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from dsft.recipe.yaml12 import Loader, Scalar, read_scalar

COMMAND = "(command)"
VALUES = "(recipe)"
"""The place of values that come from Python instead of a file."""
_MAX_SHOWN = 80

KeyPath = tuple[str, ...]
"""Keys from the top level of a recipe to a value; list entries are addressed by their index, as text."""


@dataclass(frozen=True)
class Place:
    """Where a value was given: a line of a file, counted from 1, an override on the command line, or in Python."""

    source: str
    line: int

    def __str__(self) -> str:
        return self.source if self.source in (COMMAND, VALUES) else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Problem:
    """One error in a recipe.

    Attributes:
        place: Where the invalid value was given.
        path: Its key; empty if the problem is the whole file or override.
        message: The text after the key's name.
        cause: A key; if that key has a problem of its own, this one follows from it and is not reported.
    """

    place: Place
    path: KeyPath
    message: str
    cause: KeyPath = ()

    def __str__(self) -> str:
        key = f"{'.'.join(self.path)}: " if self.path else ""
        return f"{self.place}  {key}{self.message}"


@dataclass(frozen=True)
class Node:
    """A value and its place; the place of an entry of a mapping is the line of its key."""

    value: Scalar | dict[str, Node] | list[Node]
    place: Place


def read_yaml(text: str, place: Callable[[int], Place], problems: list[Problem]) -> Node | None:
    """Parse one YAML 1.2 document.

    Args:
        text: The document.
        place: Returns the place of a line, counted from 1.
        problems: Receives syntax errors, duplicate keys and invalid scalars.

    Returns:
        The tree, or None if the text is not valid YAML.
    """
    try:
        root = Loader(text).get_single_node()
        return Node(None, place(1)) if root is None else _node(root, (), place, problems)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column) if mark else (1, 0)
        problems.append(Problem(place(line), (), _syntax_message(error, text.splitlines(), line, column)))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = f"the control character {chr(error.character)!r}"
        problems.append(Problem(place(line), (), f"not valid YAML: found {found}. Save the file as plain text."))
    except RecursionError:
        problems.append(Problem(place(1), (), "brackets are nested too deeply; a recipe has a few levels."))
    return None


def to_node(value: Any, place: Place) -> Node:
    """Wrap plain values, lists and dicts; every part gets the same place."""
    if isinstance(value, dict):
        return Node({key: to_node(part, place) for key, part in value.items()}, place)
    if isinstance(value, list):
        return Node([to_node(part, place) for part in value], place)
    return Node(value, place)


def to_plain(node: Node) -> Any:
    """Return the tree as plain values, lists and dicts."""
    if isinstance(node.value, dict):
        return {key: to_plain(part) for key, part in node.value.items()}
    if isinstance(node.value, list):
        return [to_plain(part) for part in node.value]
    return node.value


def child(node: Node, key: str) -> Node | None:
    """Return an entry of a mapping, or of a list by its index; None if there is no such entry."""
    if isinstance(node.value, dict):
        return node.value.get(key)
    if isinstance(node.value, list) and key.isdecimal() and int(key) < len(node.value):
        return node.value[int(key)]
    return None


def descend(node: Node, path: KeyPath) -> Iterator[Node]:
    """Yield the nodes from the root along ``path``, as far as they exist."""
    step: Node | None = node
    for key in (*path, ""):
        if step is None:
            return
        yield step
        step = child(step, key)


def merge(base: Node, top: Node) -> Node:
    """Merge two trees: mappings key by key; any other value of ``top`` replaces that of ``base``."""
    if not isinstance(base.value, dict) or not isinstance(top.value, dict):
        return top
    merged = dict(base.value)
    for key, part in top.value.items():
        merged[key] = merge(merged[key], part) if key in merged else part
    return Node(merged, top.place)


def shorten(text: str) -> str:
    """Truncate a text to the length that fits into a message."""
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def _node(node: yaml.Node, path: KeyPath, place: Callable[[int], Place], problems: list[Problem]) -> Node:
    here = place(node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return Node(_entries(node, path, place, problems), here)
    if isinstance(node, yaml.SequenceNode):
        parts = enumerate(node.value)
        return Node([_node(part, (*path, str(index)), place, problems) for index, part in parts], here)
    try:
        return Node(read_scalar(node.tag, node.value), here)
    except ValueError as error:
        problems.append(Problem(here, path, f"{error}."))
        return Node(node.value, here)


def _entries(
    node: yaml.MappingNode, path: KeyPath, place: Callable[[int], Place], problems: list[Problem]
) -> dict[str, Node]:
    entries: dict[str, Node] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(
                problem="a key must be a word, found a list or a mapping", problem_mark=key_node.start_mark
            )
        key, here = str(key_node.value), place(key_node.start_mark.line + 1)
        if key in entries:
            first = entries[key].place
            problems.append(Problem(here, (*path, key), f"duplicate key, first given at {first}. Remove one of them."))
            continue
        entries[key] = Node(_node(value_node, (*path, key), place, problems).value, here)
    return entries


def _syntax_message(error: yaml.MarkedYAMLError, lines: list[str], line: int, column: int) -> str:
    text = lines[line - 1] if line <= len(lines) else ""
    what = ", ".join(part for part in (error.context, error.problem) if part)
    advice = ""
    if text[column : column + 1] == "\t" or text[:column].strip(" ") == "\t":
        advice = " Use spaces, not tabs."
    elif "alias" in what:
        advice = " A value that starts with * needs quotes, such as '*.conv1'."
    elif "mapping values are not allowed" in what:
        advice = " A value that contains ': ' needs quotes; all keys of a section start in the same column."
    elif "single document" in what:
        advice = " Remove the line '---' between them."
    return f"not valid YAML (column {column + 1}): {what}.{advice}"
