"""Interpolation of ``${name}``, ``${section.key}`` and ``${env:VARIABLE}`` in a recipe.

A literal ``${`` is written ``$${``.
"""

from __future__ import annotations

import json
import os
import re

from dsft.errors import did_you_mean
from dsft.recipe.document import KeyPath, Node, Problem, descend, shorten
from dsft.recipe.schema import all_keys, recipe_schema
from dsft.recipe.yaml12 import Scalar, plain_scalar

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)(\}?)")


class _UnresolvedError(Exception):
    """An invalid reference; ``path`` is the key whose text contains it, ``target`` the key that it refers to."""

    def __init__(self, path: KeyPath, message: str, target: KeyPath = ()) -> None:
        super().__init__(message)
        self.path = path
        self.target = target


def interpolate(document: Node, problems: list[Problem]) -> Node:
    """Return the recipe with every reference replaced by its value.

    Text that consists of one reference becomes the referenced value with its type; an environment
    variable is parsed as a YAML 1.2 scalar.

    Args:
        document: The whole recipe, defaults included.
        problems: Receives unknown and cyclic references, each once.
    """
    return _interpolate(document, document, (), problems)


def escape(text: str) -> str:
    """Escape ``text`` so that :func:`interpolate` returns it unchanged."""
    return text.replace("${", "$${")


def _interpolate(node: Node, document: Node, path: KeyPath, problems: list[Problem]) -> Node:
    if isinstance(node.value, dict):
        parts = node.value.items()
        return Node({key: _interpolate(part, document, (*path, key), problems) for key, part in parts}, node.place)
    if isinstance(node.value, list):
        entries = enumerate(node.value)
        return Node([_interpolate(part, document, (*path, str(at)), problems) for at, part in entries], node.place)
    if not isinstance(node.value, str):
        return node
    try:
        return Node(_expand(document, node.value, path, ()), node.place)
    except _UnresolvedError as error:
        place = list(descend(document, error.path))[-1].place
        problem = Problem(place, error.path, str(error), error.target)
        if problem not in problems:
            problems.append(problem)
        return node


def _expand(document: Node, text: str, path: KeyPath, trail: tuple[KeyPath, ...]) -> Scalar:
    """Replace the references in the text at ``path``; ``trail`` has the keys whose references led here."""
    if path in trail:
        raise _cycle(trail[trail.index(path) :])

    def replacement(match: re.Match[str]) -> Scalar:
        if match[1] is None:
            return "${"
        if not match[2]:
            found = shorten(repr(text))
            raise _UnresolvedError(path, f"a reference is ${{section.key}}, found {found}. A literal ${{ is $${{.")
        return _referred(document, match[1].strip(), path, (*trail, path))

    whole = _REFERENCE.fullmatch(text)
    return replacement(whole) if whole else _REFERENCE.sub(lambda match: _as_text(replacement(match)), text)


def _cycle(steps: tuple[KeyPath, ...]) -> _UnresolvedError:
    # Starting at the same key wherever the cycle was entered makes equal problems, which are reported once.
    start = steps.index(min(steps))
    ordered = (*steps[start:], *steps[: start + 1])
    text = " -> ".join(".".join(step) for step in ordered)
    return _UnresolvedError(ordered[0], f"references form a cycle: {text}.")


def _referred(document: Node, name: str, owner: KeyPath, trail: tuple[KeyPath, ...]) -> Scalar:
    if name.startswith("env:"):
        return _environment(name.removeprefix("env:"), owner)
    path = tuple(name.split("."))
    found = list(descend(document, path))
    value = found[-1].value
    if len(found) <= len(path):
        near = did_you_mean(name, (".".join(key) for key in all_keys(recipe_schema())))
        raise _UnresolvedError(owner, f"${{{name}}} is not a key of this recipe.{near}", path)
    if isinstance(value, dict | list):
        raise _UnresolvedError(owner, f"${{{name}}} is a section or a list; refer to a single value.", path)
    if value is None:
        raise _UnresolvedError(owner, f"${{{name}}} is null, so there is no value to insert.", path)
    return _expand(document, value, path, trail) if isinstance(value, str) else value


def _environment(variable: str, owner: KeyPath) -> Scalar:
    if variable not in os.environ:
        near = did_you_mean(variable, os.environ)
        raise _UnresolvedError(owner, f"the environment variable {variable!r} is not set.{near}")
    return plain_scalar(os.environ[variable])


def _as_text(value: Scalar) -> str:
    return value if isinstance(value, str) else json.dumps(value)
