"""The JSON schema of a recipe: lookup by key, default values, and descriptions of valid values."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from dsft.recipe.document import KeyPath, Node, to_node
from dsft.recipe.sections import Recipe

Schema = dict[str, Any]


@functools.cache
def recipe_schema() -> Schema:
    """Return the JSON schema that pydantic derives from the sections; it is cached, so do not modify it."""
    return Recipe.model_json_schema()


def resolved(schema: Schema) -> Schema:
    """Resolve a reference, and an optional value to its type other than ``null``."""
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        return resolved(choices[0])
    if "$ref" in schema:
        return recipe_schema()["$defs"][schema["$ref"].rpartition("/")[2]]  # type: ignore[no-any-return]
    return schema


def keys_of(schema: Schema) -> dict[str, Schema]:
    """Return the keys of a section with their schemas; empty if the schema is not that of a section."""
    return resolved(schema).get("properties", {})  # type: ignore[no-any-return]


def schema_at(path: KeyPath) -> Schema | None:
    """Return the schema of the value at ``path``, or None if there is no such key."""
    schema: Schema | None = recipe_schema()
    for key in path:
        if schema is None:
            return None
        schema = _entry(key, schema)
    return schema


def all_keys(schema: Schema, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the path of every key of a section and of its nested sections."""
    for key, part in keys_of(schema).items():
        yield (*path, key)
        yield from all_keys(part, (*path, key))


def with_defaults(node: Node, schema: Schema) -> Node:
    """Return the tree with the defaults of all missing keys; a default has the place of its section."""
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


def describe(schema: Schema) -> str:
    """Describe the valid values, such as ``an integer >= 1, or auto``."""
    if len(words := words_of(schema)) > 1:
        return _one_of(words)
    if "anyOf" in schema:
        return ", or ".join(describe(choice) for choice in schema["anyOf"])
    schema = resolved(schema)
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return _one_of(schema["enum"])
    kind = schema["type"]
    if kind in ("integer", "number"):
        return f"{'an integer' if kind == 'integer' else 'a number'}{_bounds(schema)}"
    if kind == "array":
        return _describe_list(schema)
    if kind == "object" and _is_map(schema):
        return f"a map from names to values, each {describe(schema['additionalProperties'])}"
    if kind == "object":
        return f"a section with the keys {', '.join(schema['properties'])}"
    if kind == "string" and "examples" in schema:
        return f"text such as {' or '.join(schema['examples'])}"
    return {"boolean": "true or false", "string": "text", "null": "null"}[kind]


def words_of(schema: Schema) -> list[str]:
    """Return the allowed words of a value that must be one of some words; empty for any other value."""
    choices = [resolved(choice) for choice in resolved(schema).get("anyOf", [schema])]
    words = [choice.get("enum", [choice.get("const")]) for choice in choices]
    flat = [word for part in words for word in part]
    return flat if all(isinstance(word, str) for word in flat) else []


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


def _describe_list(schema: Schema) -> str:
    if "prefixItems" in schema:
        entries = schema["prefixItems"]
        return f"a list of {len(entries)} entries: {'; '.join(describe(entry) for entry in entries)}"
    least = f" of at least {schema['minItems']}" if "minItems" in schema else ""
    return f"a list{least}, each entry {describe(schema['items'])}"
