"""The recipe reference, for people as tables and for editors as a JSON schema."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from dsft.recipe.document import KeyPath
from dsft.recipe.schema import Schema, in_words, keys_of, recipe_schema, resolved

_EXTENDS: Schema = {
    "anyOf": [{"type": "string"}, {"type": "null"}],
    "default": None,
    "description": "A recipe that this one builds on, by path from this file or by shipped name: "
    "sections are joined key by key, lists and values replaced.",
}


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a recipe file, with which editors complete and check."""
    schema = copy.deepcopy(recipe_schema())
    schema["properties"] = {"extends": _EXTENDS, **schema["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def recipe_reference() -> str:
    """Return Markdown with one table a section: key, type, default and what it does."""
    return "\n".join(_section((), json_schema()))


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
    default = f"`{json.dumps(schema['default'])}`" if "default" in schema else "needed"
    kind = "a list of sections" if _holds_section(schema) else in_words(schema)
    return f"| `{key}` | {kind} | {default} | {_one_line(schema['description'])} |".replace("\n", " ")


def _one_line(text: str) -> str:
    return " ".join(text.split())
