"""The recipe's JSON schema: looked up by key, filled in with defaults, and read aloud."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from dsft.recipe.document import KeyPath, Node, to_node
from dsft.recipe.sections import Recipe

Schema = dict[str, Any]


@functools.cache
def recipe_schema() -> Schema:
    """Return the JSON schema that pydantic derives from the sections; do not change it."""
    return Recipe.model_json_schema()


def resolved(schema: Schema) -> Schema:
    """Follow a reference, and past ``null`` to the only other choice of an optional value."""
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        return resolved(choices[0])
    if "$ref" in schema:
        return recipe_schema()["$defs"][schema["$ref"].rpartition("/")[2]]  # type: ignore[no-any-return]
    return schema


def keys_of(schema: Schema) -> dict[str, Schema]:
    """Return the keys of a section, each with its schema; none where it is no section."""
    return resolved(schema).get("properties", {})  # type: ignore[no-any-return]


def schema_at(path: KeyPath) -> Schema | None:
    """Return the schema of the value at ``path``, or None where no such key is known."""
    schema: Schema | None = recipe_schema()
    for key in path:
        if schema is None:
            return None
        schema = _entry(key, schema)
    return schema


def all_keys(schema: Schema, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the path of every key of a section and of the sections in it."""
    for key, part in keys_of(schema).items():
        yield (*path, key)
        yield from all_keys(part, (*path, key))


def with_defaults(node: Node, schema: Schema) -> Node:
    """Return the tree with a default for every key left out; its place is that of its section."""
    inner = resolved(schema)
    if isinstance(node.value, list) and "items" in inner:
        return Node([with_defaults(part, inner["items"]) for part in node.value], node.place)
    if not isinstance(node.value, dict):
        return node
    keys = keys_of(schema)
    filled = {key: with_defaults(part, keys.get(key, {})) for key, part in node.value.items()}
    for key, part in keys.items():
        if key not in filled and "default" in part:
            filled[key] = to_node(part["default"], node.place)
    return Node(filled, node.place)


def in_words(schema: Schema) -> str:
    """Say what a value must be, such as ``an integer >= 1, or auto``."""
    if "anyOf" in schema:
        return ", or ".join(in_words(choice) for choice in schema["anyOf"])
    schema = resolved(schema)
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return _one_of(schema["enum"])
    kind = schema["type"]
    if kind in ("integer", "number"):
        return f"{'an integer' if kind == 'integer' else 'a number'}{_bounds(schema)}"
    if kind == "array":
        return _list_in_words(schema)
    if kind == "object" and _is_map(schema):
        return f"a map from names, each to {in_words(schema['additionalProperties'])}"
    if kind == "object":
        return f"a section with the keys {', '.join(schema['properties'])}"
    if kind == "string" and "examples" in schema:
        return f"text such as {' or '.join(schema['examples'])}"
    return {"boolean": "true or false", "string": "text", "null": "null"}[kind]


def _entry(key: str, schema: Schema) -> Schema | None:
    inner = resolved(schema)
    if _is_map(inner):
        return inner["additionalProperties"]  # type: ignore[no-any-return]
    if not key.isdecimal():
        return keys_of(schema).get(key)
    entries: list[Schema] = inner.get("prefixItems", [])
    return entries[int(key)] if int(key) < len(entries) else inner.get("items")


def _is_map(schema: Schema) -> bool:
    return isinstance(schema.get("additionalProperties"), dict)


def _one_of(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"one of {', '.join(words)}"


def _bounds(schema: Schema) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f" {sign} {schema[name]}" for name, sign in signs.items() if name in schema]
    return " and".join(bounds)


def _list_in_words(schema: Schema) -> str:
    if "prefixItems" in schema:
        entries = schema["prefixItems"]
        return f"a list of {len(entries)} entries: {'; '.join(in_words(entry) for entry in entries)}"
    least = f" of at least {schema['minItems']}" if "minItems" in schema else ""
    return f"a list{least}, each entry {in_words(schema['items'])}"
