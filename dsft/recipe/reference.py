"""The recipe reference: as Markdown tables for readers and as a JSON schema for editors."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from dsft.recipe.document import KeyPath
from dsft.recipe.schema import Schema, describe, keys_of, recipe_schema, resolved

BEGIN = "<!-- recipe reference: dsft recipes schema -->"
END = "<!-- end of the recipe reference -->"

_EXTENDS: Schema = {
    "anyOf": [{"type": "string"}, {"type": "null"}],
    "default": None,
    "description": "The recipe that this one extends, by its path relative to this file or by its shipped name: "
    "sections are merged key by key, lists and values are replaced.",
}


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a recipe file, for completion and validation in editors."""
    schema = copy.deepcopy(recipe_schema())
    schema["properties"] = {"extends": _EXTENDS, **schema["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def recipe_reference() -> str:
    """Return Markdown with one table per section: key, type, default and description."""
    return "\n".join(_section((), json_schema()))


def replace_reference(document: str) -> str:
    """Return a Markdown document with the current reference between the two comments that enclose it.

    Raises:
        ValueError: The document does not contain both comments.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document needs the lines {BEGIN!r} and {END!r}")
    return f"{before}{begin}\n{recipe_reference()}{end}{after}"


def _section(path: KeyPath, schema: Schema) -> Iterator[str]:
    yield f"### {'`' + '.'.join(path) + '`' if path else 'Top level'}\n"
    yield f"{_one_line(resolved(schema)['description'])}\n"
    inner = {key: part for key, part in keys_of(schema).items() if _holds_section(part)}
    rows = [_row(key, part) for key, part in keys_of(schema).items() if not keys_of(part)]
    if rows:
        yield "| Key | Type | Default | |\n| --- | --- | --- | --- |"
        yield "\n".join(rows) + "\n"
    for key, part in inner.items():
        yield from _section((*path, key), resolved(part).get("items", part))


def _holds_section(schema: Schema) -> bool:
    return bool(keys_of(schema) or keys_of(resolved(schema).get("items", {})))


def _row(key: str, schema: Schema) -> str:
    default = f"`{json.dumps(schema['default'])}`" if "default" in schema else "required"
    kind = "a list of sections" if _holds_section(schema) else describe(schema)
    return f"| `{key}` | {kind} | {default} | {_one_line(schema['description'])} |".replace("\n", " ")


def _one_line(text: str) -> str:
    return " ".join(text.split())
