from __future__ import annotations

import pytest

from dsft.recipe import Recipe, forbidden_changes, load_recipe
from dsft.recipe.changes import list_changes


def recipe(*overrides: str) -> Recipe:
    return load_recipe("quickstart", overrides)


def test_equal_recipes_have_no_changes() -> None:
    assert list_changes(recipe(), recipe()) == []


def test_a_change_has_its_key_and_both_values() -> None:
    changes = list_changes(recipe(), recipe("optim.lr=1", "~ema", "freeze.0.until=2ep"))
    assert [str(change).partition(":")[0] for change in changes] == ["optim.lr", "freeze", "ema"]
    assert str(changes[0]) == "optim.lr: 0.0003 before, 1.0 now"
    assert changes[2].after is None


@pytest.mark.parametrize(
    "change",
    [
        "train.device=cpu",
        "data.workers=3",
        "data.bad_images=skip",
        "output.dir=other",
        "output.save_every=1it",
        "log.progress=off",
    ],
)
def test_settings_of_the_execution_may_change(change: str) -> None:
    assert list_changes(recipe(), recipe(change))
    assert forbidden_changes(recipe(), recipe(change)) == []


@pytest.mark.parametrize("change", ["data.batch_size=3", "train.seed=1", "name=other", "data.sampler=balanced"])
def test_settings_of_the_result_may_not_change(change: str) -> None:
    assert len(forbidden_changes(recipe(), recipe(change, "data.workers=3"))) == 1


def test_more_epochs_go_with_a_schedule_that_has_no_end() -> None:
    assert [change.key for change in forbidden_changes(recipe(), recipe("schedule.epochs=9"))] == ["schedule.epochs"]
    constant = "schedule.sched=constant"
    assert forbidden_changes(recipe(constant), recipe(constant, "schedule.epochs=9")) == []
