from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsft.recipe.document import Place, Problem, descend, to_node, to_plain
from dsft.recipe.interpolation import escape, interpolate

RECIPE = {
    "name": "a",
    "data": {"root": "${env:DSFT_ROOT}/images", "seed": 3, "download": True, "name": None},
    "optim": {"lr": 1e-3},
    "freeze": [{"until": "1ep"}],
}


def interpolated(text: str, **more: Any) -> tuple[Any, list[str]]:
    problems: list[Problem] = []
    document = to_node({**RECIPE, "data": {"seed": 3, "download": True, "name": None}, "dir": text, **more}, PLACE)
    result = list(descend(interpolate(document, problems), ("dir",)))
    return to_plain(result[-1]), [str(problem) for problem in problems]


PLACE = Place("a.yaml", 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runs/${name}", "runs/a"),
        ("${ name }-${data.seed}", "a-3"),
        ("${optim.lr}", 1e-3),
        ("${data.download}", True),
        ("x${data.download}", "xtrue"),
        ("lr=${optim.lr}", "lr=0.001"),
        ("${freeze.0.until}", "1ep"),
        ("$${name}", "${name}"),
        ("$name {name} $", "$name {name} $"),
        ("${env:DSFT_ROOT}/x", "/data set/x"),
        ("${env:DSFT_COUNT}", 8),
        ("n${env:DSFT_COUNT}", "n8"),
    ],
)
def test_references_are_replaced(text: str, expected: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSFT_ROOT", "/data set")
    monkeypatch.setenv("DSFT_COUNT", "8")
    assert interpolated(text) == (expected, [])


def test_references_lead_on_through_others_and_into_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSFT_ROOT", "/d")
    problems: list[Problem] = []
    document = to_node({**RECIPE, "b": ["${data.root}/b"], "c": "${b.0}/c"}, PLACE)
    result = to_plain(interpolate(document, problems))
    assert problems == []
    assert result["b"] == ["/d/images/b"]
    assert result["c"] == "/d/images/b/c"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${nmae}", "dir: ${nmae} is not a key of this recipe. Did you mean name?"),
        ("${optim.lrr}", "${optim.lrr} is not a key of this recipe. Did you mean optim.lr "),
        ("${ema.decay}", "${ema.decay} is not a key of this recipe."),
        ("${optim}", "${optim} is a section or a list; refer to a single value."),
        ("${freeze}", "${freeze} is a section or a list; refer to a single value."),
        ("${data.name}", "${data.name} is null, so there is no value to insert."),
        ("runs/${name", "a reference is ${section.key}, found 'runs/${name'. A literal ${ is $${."),
        ("${}", "${} is not a key of this recipe."),
        ("${env:DSFT_HMOE}", "the environment variable 'DSFT_HMOE' is not set. Did you mean DSFT_HOME"),
        ("${dir}", "dir: references form a cycle: dir -> dir."),
    ],
)
def test_an_invalid_reference_is_reported(text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSFT_HOME", "x")
    value, (problem,) = interpolated(text)
    assert problem.startswith("a.yaml:4  dir: ")
    assert message in problem
    assert value == text


def test_a_cycle_is_reported_once_however_many_keys_are_in_it() -> None:
    _, problems = interpolated("${b}", b="x${c}", c="${dir}", d="${b}")
    assert problems == ["a.yaml:4  b: references form a cycle: b -> c -> dir -> b."]


def test_an_invalid_reference_is_reported_where_it_is_and_not_where_it_is_used() -> None:
    _, problems = interpolated("${b}/x", b="${nmae}")
    assert len(problems) == 1
    assert problems[0].startswith("a.yaml:4  b: ${nmae}")


@given(st.text("${}env: a", max_size=12))
def test_escaped_text_is_restored(text: str) -> None:
    assert interpolated(escape(text)) == (text, [])
