"""Translate pydantic's validation errors into problems with the recipe's own keys, lines and terms."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from dsft.errors import did_you_mean, nearest
from dsft.number_format import percent_hint
from dsft.recipe.document import COMMAND, KeyPath, Node, Place, Problem, descend, shorten, to_plain
from dsft.recipe.schema import all_keys, describe, keys_of, recipe_schema, resolved, schema_at, words_of
from dsft.recipe.yaml12 import plain_scalar

RENAMED_KEYS: dict[KeyPath, str] = {
    (
        "convert",
        "order",
    ): (
        "was replaced by convert.structures. Write structures: [dw_pw] or [pw_dw] to allow one of the two orders, "
        "[dw_pw, pw_dw] to choose for each layer."
    ),
}
"""What to write in place of keys of earlier versions."""


def explain(error: ValidationError, document: Node) -> list[Problem]:
    """Return one problem for each invalid key.

    Args:
        error: What the validation of the whole recipe raised.
        document: The recipe that was validated.
    """
    problems = [_explain(dict(detail), document) for detail in error.errors(include_url=False)]
    first = {problem.path: problem for problem in reversed(problems)}
    return [problem for problem in problems if first[problem.path] is problem]


def _explain(detail: dict[str, Any], document: Node) -> Problem:
    nodes = list(descend(document, tuple(map(str, detail["loc"]))))
    # For a union of types pydantic appends its own words to the location; the recipe determines where the key ends.
    path = tuple(map(str, detail["loc"]))[: len(nodes) - 1]
    place, found = nodes[-1].place, nodes[-1]
    if detail["type"] == "json_invalid":
        return Problem(place, (), "a key or an environment variable in it is not Unicode text.")
    if detail["type"] == "extra_forbidden":
        return Problem(place, path, RENAMED_KEYS.get(path) or f"unknown key.{_valid_keys(path)}")
    if detail["type"] == "missing" and isinstance(found.value, dict):
        missing = (*path, str(detail["loc"][-1]))
        return Problem(place, missing, f"missing, expected {describe(schema_at(missing) or {})}.")
    if detail["type"] == "value_error":
        return _broken_rule(str(detail["ctx"]["error"]), path, found)
    return Problem(place, path, _wrong_value(path, to_plain(found)))


def _wrong_value(path: KeyPath, found: Any) -> str:
    schema = schema_at(path) or {}
    message = f"expected {describe(schema)}, found {_shown(found)}."
    if isinstance(found, float) and not math.isfinite(found):
        return f"{message} It must be finite."
    if isinstance(found, int | float) and _is_fraction(schema):
        return message + percent_hint(found)
    if not isinstance(found, str):
        return message
    read = plain_scalar(found)
    numeric = resolved(schema).get("type") in ("integer", "number")
    if numeric and isinstance(read, int | float) and not isinstance(read, bool):
        return f"{message} Write it without quotes."
    return message + did_you_mean(found, words_of(schema))


def _is_fraction(schema: dict[str, Any]) -> bool:
    own = resolved(schema)
    return own.get("type") == "number" and 1 in (own.get("maximum"), own.get("exclusiveMaximum"))


def _valid_keys(path: KeyPath) -> str:
    """Suggest the most similar key of the section, or of another section, or list all keys of the section."""
    key, section = path[-1], path[:-1]
    here = keys_of(schema_at(section) or {})
    near = [".".join((*section, name)) for name in nearest(key, here, count=1)]
    known = [".".join(path) for path in all_keys(recipe_schema())]
    elsewhere = [other for other in known if _is_similar(key, other.rpartition(".")[2])]
    proposals = near or elsewhere
    if proposals:
        return f" Did you mean {' or '.join(proposals)}?"
    return f" Valid here: {', '.join(here)}."


def _is_similar(one: str, other: str) -> bool:
    # Stricter than within a section: a loosely similar key of another section would mislead.
    return bool(difflib.get_close_matches(one, [other], cutoff=0.85))


def _broken_rule(rule: str, section: KeyPath, found: Node) -> Problem:
    key, _, rest = rule.partition(": ")
    path = tuple(key.split("."))
    *_, entry = descend(found, path)
    if entry is found or schema_at((*section, *path)) is None:
        return Problem(_latest(found), section, f"{rule}.")
    has_found = entry.value is None or "found" in rest
    seen = "" if has_found else f", found {_shown(to_plain(entry))}"
    return Problem(entry.place, (*section, *path), f"{rest}{seen}.")


def _latest(section: Node) -> Place:
    """Return the last override that changed a section, or the place of the section itself."""
    overrides = [place for place in _places(section) if place.source == COMMAND]
    return max(overrides, key=lambda place: place.line, default=section.place)


def _places(node: Node) -> Iterator[Place]:
    yield node.place
    for part in node.value.values() if isinstance(node.value, dict) else []:
        yield from _places(part)


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "a section"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return f"{shorten(text)} ({type(value).__name__})"
