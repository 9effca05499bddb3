"""YAML 1.2 core scalars for PyYAML, which by default reads ``1e-4`` as text and ``on`` as true."""

from __future__ import annotations

import re
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
# Python refuses to convert integers of thousands of digits; a longer one is read as an (infinite) float.
_PATTERNS = {
    "null": r"null|Null|NULL|~|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
# PyYAML tries the patterns under the key None whatever the first letter of a scalar is.
_RESOLVERS = {None: [(_TAG + kind, re.compile(rf"(?:{rule})\Z")) for kind, rule in _PATTERNS.items()]}

Scalar = None | bool | int | float | str


class Loader(yaml.SafeLoader):
    """Compose YAML 1.2 documents without aliases, which could expand without limit."""

    yaml_implicit_resolvers = _RESOLVERS

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Reject an alias; compose everything else as PyYAML does."""
        if self.check_event(yaml.AliasEvent):
            event: Any = self.get_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="found an alias", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


class Dumper(yaml.SafeDumper):
    """Quote only the text that :class:`Loader` would read as another type."""

    yaml_implicit_resolvers = _RESOLVERS


def _represent_text(dumper: Dumper, text: str) -> yaml.ScalarNode:
    # Without double quotes PyYAML drops some of Unicode's line separators.
    return dumper.represent_scalar(f"{_TAG}str", text, style=None if text.splitlines() == [text] else '"')


Dumper.add_representer(str, _represent_text)


def read_scalar(tag: str, text: str) -> Scalar:
    """Return the value of a scalar node.

    Args:
        tag: The node's tag, implicit or written.
        text: The node's text, without quotes.

    Raises:
        ValueError: The text does not match the tag, or the tag does not belong to YAML's core schema.
    """
    kind = tag.removeprefix(_TAG)
    if kind == "str":
        return text
    if kind not in _PATTERNS:
        allowed = "a recipe contains text, numbers, true, false and null"
        raise ValueError(f"the tag {tag.replace(_TAG, '!!')} is not allowed: {allowed}")
    if not re.fullmatch(_PATTERNS[kind], text):
        raise ValueError(f"the tag !!{kind} does not fit {text!r}")
    if kind == "int":
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text.lower() == "true" if kind == "bool" else None


def plain_scalar(text: str) -> Scalar:
    """Return the value of ``text`` as an unquoted YAML 1.2 scalar."""
    for tag, pattern in _RESOLVERS[None]:
        if pattern.match(text):
            return read_scalar(tag, text)
    return text
