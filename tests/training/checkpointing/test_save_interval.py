from __future__ import annotations

import pytest

from dsft.errors import RecipeError
from dsft.training.checkpointing.save_interval import SaveInterval


@pytest.mark.parametrize(
    ("interval", "due"),
    [("3it", [3, 6, 9, 12]), ("1ep", [5, 10]), ("0.5ep", [2, 4, 6, 8, 10, 12]), ("0.01ep", list(range(1, 13)))],
)
def test_steps_and_epochs_are_counted_from_the_start(interval: str, due: list[int]) -> None:
    made = SaveInterval(interval, steps_per_epoch=5)
    assert [step for step in range(1, 13) if made.is_due(step)] == due


def test_minutes_are_counted_from_the_last_save() -> None:
    now = 1000.0
    made = SaveInterval("10min", 5, clock=lambda: now)
    now += 599
    assert not made.is_due(1)
    now += 1
    assert made.is_due(2)
    made.restart()
    assert not made.is_due(3)


@pytest.mark.parametrize("interval", ["10", "0it", "0min", "1h", "-1ep"])
def test_anything_else_is_refused(interval: str) -> None:
    with pytest.raises(RecipeError, match=f"output.save_every: expected such as '10min'.*found '{interval}'"):
        SaveInterval(interval, 5)
