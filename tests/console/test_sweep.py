from __future__ import annotations

import pytest

from dsft.console import sweep_table
from dsft.tasks import CLASSIFICATION, RESTORATION, Task


@pytest.mark.parametrize(("task", "unit"), [(CLASSIFICATION, "points"), (RESTORATION, "dB")])
def test_differences_are_in_the_unit_of_the_score(task: Task, unit: str) -> None:
    rows = [(None, 0, 100, 10, 2.0, 30.0), (0.5, 3, 50, 5, 1.0, 29.5)]
    table = sweep_table(rows, "3 images of val", task.scorer.layout.main)
    difference = table.columns[-1]
    assert [str(cell) for cell in (difference.header, *difference.cells)] == [unit, "+0.00", "-0.50"]
