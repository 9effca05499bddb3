from __future__ import annotations

import dataclasses
import functools

import pytest

from dsft.assembly.data import open_splits
from dsft.assembly.sharing import require_same_images, require_shares
from dsft.data import Splits
from dsft.distributed.launch import SINGLE, Launch
from dsft.distributed.processes import ALONE, Processes
from dsft.errors import DataError, RecipeError
from dsft.progress import ignore
from dsft.recipe import load_recipe
from tests.distributed.siblings import run_together
from tests.workshop import Workshop


def test_a_batch_is_divided_evenly(workshop: Workshop) -> None:
    recipe = load_recipe(str(workshop.dense_recipe))
    for count in (1, 2, 4, 8):
        require_shares(recipe, Launch(0, count))
    with pytest.raises(RecipeError, match=r"^data\.batch_size: .* found 8 for 3\. Use one such as 9, or"):
        require_shares(recipe, Launch(0, 3))
    with pytest.raises(RecipeError, match=r"found 8 for 16\. Use one such as 16, or"):
        require_shares(recipe, Launch(0, 16))


def test_several_processes_are_told_the_size(workshop: Workshop) -> None:
    recipe = load_recipe(str(workshop.dense_recipe), ["data.batch_size=auto"])
    require_shares(recipe, SINGLE)
    with pytest.raises(RecipeError, match=r"^data\.batch_size: auto .* found 2 processes\. Set it to the number"):
        require_shares(recipe, Launch(0, 2))


def compare(splits: Splits, processes: Processes) -> str:
    """Compare splits that are equal, and then ones of which the second process has an image less."""
    require_same_images(splits, processes)
    train = dataclasses.replace(splits.train, indices=splits.train.indices[processes.rank :])
    with pytest.raises(DataError, match=r"33 in the train split of process 0 and 32 in that of process 1") as told:
        require_same_images(dataclasses.replace(splits, train=train), processes)
    return str(told.value)


def test_all_processes_find_the_same_images(workshop: Workshop) -> None:
    splits = open_splits(load_recipe(str(workshop.dense_recipe)).data, ignore)
    require_same_images(splits, ALONE)

    first, second = run_together(functools.partial(compare, splits))
    assert first == second
