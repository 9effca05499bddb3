from typing import Any

import pytest

from dsft.recipe.document import COMMAND, Node, Place, Problem, descend, to_node, to_plain
from dsft.recipe.overrides import apply_overrides

RECIPE = {
    "name": "a",
    "optim": {"lr": 0.1, "weight_decay": 0.05},
    "ema": None,
    "freeze": [{"until": "1ep", "train": ["head"]}, {"until": "2ep", "train": ["layer4.*"]}],
}


def applied(*overrides: str) -> tuple[Node, list[Problem]]:
    problems: list[Problem] = []
    document = to_node(RECIPE, Place("a.yaml", 1))
    return apply_overrides(document, overrides, problems), problems


def value(path: str, *overrides: str) -> Any:
    node, problems = applied(*overrides)
    assert problems == []
    keys = tuple(path.split("."))
    nodes = list(descend(node, keys))
    return to_plain(nodes[-1]) if len(nodes) == len(keys) + 1 else "(absent)"


@pytest.mark.parametrize(
    ("override", "path", "expected"),
    [
        ("optim.lr=1e-4", "optim.lr", 1e-4),
        ("optim.lr = 2", "optim.lr", 2),
        ("optim.weight-decay=0", "optim.weight_decay", 0),
        ("data.class_weights.8=2", "data.class_weights", {"8": 2}),
        ("data.class-weights.T-shirt/top=2", "data.class_weights", {"T-shirt/top": 2}),
        ("optim.lr-mult.layer-1.*=0.1", "optim.lr_mult", {"layer-1": {"*": 0.1}}),
        ("convert.budget.max-drop=1", "convert.budget.max_drop", 1),
        ("name=on", "name", "on"),
        ("name=08", "name", 8),
        ('name="08"', "name", "08"),
        ("name=a=b=c", "name", "a=b=c"),
        ("name=https://x.org/a?b=c", "name", "https://x.org/a?b=c"),
        ("name=C:\\data\\x", "name", "C:\\data\\x"),
        ("name=", "name", None),
        ("freeze.0.until=3ep", "freeze.0.until", "3ep"),
        ("freeze.1.train=[head, 'fc*']", "freeze.1.train", ["head", "fc*"]),
        ("freeze.2.until=5ep", "freeze.2", {"until": "5ep"}),
        ("freeze=[]", "freeze", []),
        ("optim={lr: 3}", "optim", {"lr": 3}),
        ("ema.decay=0.99", "ema", {"decay": 0.99}),
        ("convert.budget.macs=0.5", "convert", {"budget": {"macs": 0.5}}),
        ("phases.0.until=1ep", "phases", [{"until": "1ep"}]),
        ("~optim.lr", "optim", {"weight_decay": 0.05}),
        ("~optim.weight-decay", "optim", {"lr": 0.1}),
        ("~optim", "optim", "(absent)"),
        ("~freeze.0", "freeze", [{"until": "2ep", "train": ["layer4.*"]}]),
        ("~freeze.1.train", "freeze.1", {"until": "2ep"}),
    ],
)
def test_an_override_changes_its_key(override: str, path: str, expected: Any) -> None:
    assert value(path, override) == expected


def test_overrides_apply_one_after_the_other() -> None:
    assert value("optim", "optim.lr=1", "optim.lr=2", "~optim.weight_decay") == {"lr": 2}
    assert value("optim", "~optim", "optim.opt=sgd") == {"opt": "sgd"}


def test_nothing_else_changes() -> None:
    node, _ = applied("optim.lr=1")
    assert to_plain(node) == {**RECIPE, "optim": {"lr": 1, "weight_decay": 0.05}}


def test_an_overridden_value_has_the_place_of_the_command() -> None:
    node, _ = applied("~ema", "optim.lr=1")
    places = [step.place for step in descend(node, ("optim", "lr"))]
    assert places == [Place("a.yaml", 1), Place("a.yaml", 1), Place(COMMAND, 2)]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nonsense", "(command)  expected section.key=value to set a key, or ~section.key to remove one"),
        ("nonsense", "found 'nonsense'."),
        ("=1", "expected section.key=value"),
        ("optim..lr=1", "expected section.key=value"),
        ("~optim.lr=1", "expected section.key=value"),
        ("~", "expected section.key=value"),
        ("extends=base", "(command)  extends: only a recipe file can extend another. Found 'extends=base'."),
        ("optim.lr=[1", "(command)  optim.lr: not valid YAML (column 3): "),
        ("convert.include=[*.conv1]", "A value that starts with * needs quotes, such as '*.conv1'."),
        ("optim={lr: 1, lr: 2}", "(command)  optim.lr: duplicate key"),
        ("name.x=1", "(command)  name: is 'a', which has no key 'x'. Found 'name.x=1'."),
        ("freeze.until=1ep", "freeze: is a list: address an entry by its index, such as freeze.0."),
        ("freeze.3.until=1ep", "freeze.3: no such entry: the list has 2, counted from 0."),
        ("~freeze.2", "freeze.2: no such entry: the list has 2, counted from 0."),
        ("~optim.weigth_decay", "cannot be removed: it is not in the recipe. Did you mean optim.weight_decay?"),
        ("~distill", "(command)  distill: cannot be removed: it is not in the recipe. Found '~distill'."),
        ("~name.x", "name.x: cannot be removed: it is not in the recipe."),
    ],
)
def test_an_invalid_override_is_reported(override: str, message: str) -> None:
    node, problems = applied(override, "name=b")
    assert message in str(problems[0])
    assert len(problems) == 1
    assert [to_plain(step) for step in descend(node, ("name",))][-1] == "b"
