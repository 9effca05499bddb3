import pytest
from pydantic import ValidationError

from dsft.recipe.document import COMMAND, Place, merge, to_node
from dsft.recipe.explain import explain
from dsft.recipe.sections import Recipe

PLACE = Place("a.yaml", 1)


def test_each_invalid_key_is_reported_once_in_the_terms_of_the_recipe() -> None:
    # Pydantic itself says two things of each of the first two, one for every type that they may have.
    document = to_node(
        {
            "version": 1,
            "name": "a",
            "model": {"source": "timm", "name": "resnet18"},
            "data": {"source": "digits", "workers": "x"},
            "schedule": {"decay_epochs": [0, "x"]},
            "freeze": [{"until": "1ep", "train": ["head", 3]}],
        },
        PLACE,
    )
    text = (
        '{"version": 1, "name": "a", "model": {"source": "timm", "name": "resnet18"},'
        '"data": {"source": "digits", "workers": "x"}, "schedule": {"decay_epochs": [0, "x"]},'
        '"freeze": [{"until": "1ep", "train": ["head", 3]}]}'
    )
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate_json(text)
    assert caught.value.error_count() > 3
    assert [str(problem) for problem in explain(caught.value, document)] == [
        "a.yaml:1  data.workers: expected an integer >= 0, or auto, found 'x' (str).",
        "a.yaml:1  schedule.decay_epochs: expected a number > 0, or a list, each entry a number > 0, or null, "
        "found [0, 'x'] (list).",
        "a.yaml:1  freeze.0.train.1: expected text, found 3 (int).",
    ]


@pytest.mark.parametrize("order", [1, 2])
def test_a_rule_broken_by_an_override_has_the_place_of_the_command(order: int) -> None:
    base = to_node({"convert": {"budget": {"macs": 0.5}}}, PLACE)
    document = merge(base, to_node({"convert": {"rank": 2}}, Place(COMMAND, order)))
    text = (
        '{"version": 1, "name": "a", "model": {"source": "timm", "name": "x"}, "data": {"source": "digits"},'
        '"convert": {"budget": {"macs": 0.5}, "rank": 2}}'
    )
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate_json(text)
    (problem,) = explain(caught.value, document)
    assert str(problem).startswith("(command)  convert: exactly one of budget and rank is needed, found both.")
    assert "~convert.budget" in str(problem)
