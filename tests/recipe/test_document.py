import functools
from typing import Any

import pytest

from dsft.recipe.document import (
    Node,
    Place,
    Problem,
    child,
    descend,
    merge,
    read_yaml,
    shorten,
    to_node,
    to_plain,
)

TEXT = """\
# a comment
model:
  source: timm
  name: resnet18
freeze:
  - until: 1ep
    train: [head]
  - {until: 2ep,
     train: [all]}
"""


def read(text: str) -> tuple[Node | None, list[Problem]]:
    problems: list[Problem] = []
    return read_yaml(text, functools.partial(Place, "a.yaml"), problems), problems


def whole(text: str) -> Node:
    node, problems = read(text)
    assert problems == []
    assert node is not None
    return node


def only_message(text: str) -> str:
    _, problems = read(text)
    (problem,) = problems
    return str(problem)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("model",), 2),
        (("model", "name"), 4),
        (("freeze",), 5),
        (("freeze", "0"), 6),
        (("freeze", "0", "train"), 7),
        (("freeze", "1", "train"), 9),
        (("freeze", "1", "train", "0"), 9),
    ],
)
def test_every_value_knows_its_line(path: tuple[str, ...], line: int) -> None:
    nodes = list(descend(whole(TEXT), path))
    assert len(nodes) == len(path) + 1
    assert nodes[-1].place == Place("a.yaml", line)


def test_the_values_are_kept() -> None:
    assert to_plain(whole(TEXT)) == {
        "model": {"source": "timm", "name": "resnet18"},
        "freeze": [{"until": "1ep", "train": ["head"]}, {"until": "2ep", "train": ["all"]}],
    }


def test_keys_are_always_text() -> None:
    assert to_plain(whole("on: 1\n2: 3\nnull: 4")) == {"on": 1, "2": 3, "null": 4}


def test_an_empty_document_is_null() -> None:
    assert whole("# nothing\n").value is None


def test_every_duplicate_key_is_reported_and_the_first_is_used() -> None:
    node, problems = read("optim:\n  lr: 1\n  lr: 2\noptim: {lr: 3, lr: 4}\n")
    assert node is not None
    assert to_plain(node) == {"optim": {"lr": 1}}
    assert [str(problem) for problem in problems] == [
        "a.yaml:3  optim.lr: duplicate key, first given at a.yaml:2. Remove one of them.",
        "a.yaml:4  optim: duplicate key, first given at a.yaml:1. Remove one of them.",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n\tb: 2", "a.yaml:2  not valid YAML (column 1): "),
        ("optim:\n\tlr: 2", "a.yaml:2  not valid YAML (column 1): while scanning for the next token, found"),
        ("a: 1\n\tb: 2", "Use spaces, not tabs."),
        ("optim:\n\tlr: 2", "Use spaces, not tabs."),
        ("a:\t[1", "a.yaml:1  not valid YAML"),
        ("x: 1\ny: [1, 2\nz: 3", "a.yaml:3  not valid YAML (column 2): while parsing a flow sequence"),
        ("include: [*]", "a value that starts with * needs quotes, such as '*.conv1'"),
        ("include: *layer4", "a value that starts with * needs quotes, such as '*.conv1'"),
        ("x: &a 1\ny: *a", "a.yaml:2  not valid YAML (column 4): found an alias"),
        ("x: &a [*a]", "found an alias"),
        ("name: a: b", "a value that contains ': ' needs quotes"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("a: 1\n---\nb: 2", "Remove the line '---'"),
        ("{{name}}: 1", "a key must be a word, found a list or a mapping"),
        ("? [1, 2]\n: 3", "a.yaml:1  not valid YAML (column 3): a key must be a word"),
        ("a: 1\nb: x\x07", "a.yaml:2  not valid YAML: found the control character '\\x07'"),
        ("a: " + "[" * 5000, "a.yaml:1  brackets are nested too deeply"),
        ("a: 1\nb: !!python/object/apply:os.system [x]", None),
        ("b: !!python/name:os.system x", "a.yaml:1  b: the tag !!python/name:os.system is not allowed"),
        ("b: !!int x", "a.yaml:1  b: the tag !!int does not fit 'x'"),
    ],
)
def test_invalid_yaml_is_reported_with_its_line(text: str, message: str | None) -> None:
    if message is None:
        # A sequence's tag is no instruction: its parts are read as plain values and nothing is run.
        assert to_plain(whole(text)) == {"a": 1, "b": ["x"]}
    else:
        assert message.lower() in only_message(text).lower()


def test_merging_joins_mappings_and_replaces_the_rest() -> None:
    base, top = Place("base.yaml", 1), Place("top.yaml", 9)
    values: dict[str, Any] = {"a": {"x": 1, "y": 2}, "list": [1, 2], "gone": {"z": 1}, "kept": 0}
    merged = merge(to_node(values, base), to_node({"a": {"y": 3}, "list": [4], "gone": None, "new": 5}, top))
    assert to_plain(merged) == {"a": {"x": 1, "y": 3}, "list": [4], "gone": None, "kept": 0, "new": 5}
    assert [node.place for node in descend(merged, ("a", "x"))] == [top, top, base]


def test_descending_stops_where_the_document_ends() -> None:
    node = to_node({"a": [1, {"b": 2}]}, Place("a.yaml", 1))
    assert [to_plain(step) for step in descend(node, ("a", "1", "c", "d"))] == [
        {"a": [1, {"b": 2}]},
        [1, {"b": 2}],
        {"b": 2},
    ]
    assert child(node, "z") is None
    assert child(to_node([1], Place("a.yaml", 1)), "1") is None
    assert child(to_node("text", Place("a.yaml", 1)), "0") is None


def test_shortening_keeps_what_fits() -> None:
    assert shorten("x" * 80) == "x" * 80
    assert shorten("x" * 81) == "x" * 77 + "..."
