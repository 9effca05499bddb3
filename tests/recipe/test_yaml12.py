import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dsft.recipe.yaml12 import Dumper, Loader, plain_scalar, read_scalar

# YAML 1.2.2, section 10.3.2, example 10.9 and its table, with what YAML 1.1 reads differently.
CORE = [
    ("", None), ("~", None), ("null", None), ("NULL", None),
    ("true", True), ("FALSE", False),
    ("0", 0), ("08", 8), ("010", 10), ("-19", -19), ("+12", 12), ("0o14", 12), ("0x3A", 58),
    ("1e-4", 1e-4), ("1E3", 1e3), ("0.", 0.0), (".5", 0.5), ("+12e03", 12e3), ("-2E+05", -2e5),
    (".inf", math.inf), ("-.INF", -math.inf),
    ("on", "on"), ("no", "no"), ("Yes", "Yes"), ("y", "y"), ("0b11", "0b11"), ("1_000", "1_000"),
    ("12:30:45", "12:30:45"), ("2024-01-01", "2024-01-01"), ("nan", "nan"), ("1e", "1e"),
    ("=", "="), ("<<", "<<"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), CORE)
def test_a_plain_scalar_is_what_yaml_1_2_says(text: str, value: object) -> None:
    read = plain_scalar(text)
    assert read == value
    assert type(read) is type(value)


def test_nan_is_read() -> None:
    read = plain_scalar(".nan")
    assert isinstance(read, float)
    assert math.isnan(read)


def test_an_integer_beyond_pythons_limit_is_read_as_infinite() -> None:
    assert plain_scalar("1" + "0" * 5000) == math.inf


def test_a_tag_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="the tag !!int does not fit 'x'"):
        read_scalar("tag:yaml.org,2002:int", "x")


def test_a_foreign_tag_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the tag !!python/name:os\.system is not allowed"):
        read_scalar("tag:yaml.org,2002:python/name:os.system", "")


def test_an_alias_is_refused() -> None:
    with pytest.raises(yaml.MarkedYAMLError, match="found an alias"):
        Loader("{a: &x [1], b: *x}").get_single_node()


@given(st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.floats(), st.integers(), st.none()))
def test_what_is_dumped_reads_back(value: str | float | int | None) -> None:
    node = Loader(yaml.dump([value], Dumper=Dumper, allow_unicode=True)).get_single_node()
    assert isinstance(node, yaml.SequenceNode)
    read = read_scalar(node.value[0].tag, node.value[0].value)
    assert type(read) is type(value)
    assert read == value or (value != value and read != read)


@pytest.mark.parametrize("text", [text for text, _ in CORE])
def test_text_that_looks_like_something_else_is_quoted(text: str) -> None:
    node = Loader(yaml.dump({"key": text}, Dumper=Dumper)).get_single_node()
    assert isinstance(node, yaml.MappingNode)
    assert read_scalar(node.value[0][1].tag, node.value[0][1].value) == text
