"""What several processes need to agree on before they train one network together."""

from __future__ import annotations

from dsft.assembly.conversion import replay_plan
from dsft.assembly.network import Network
from dsft.conversion import Trial
from dsft.data import Splits
from dsft.distributed.launch import Launch
from dsft.distributed.processes import Processes
from dsft.errors import DataError, RecipeError
from dsft.recipe import Recipe


def require_shares(recipe: Recipe, launch: Launch) -> None:
    """Check that every process can have an equal part of a batch.

    Raises:
        RecipeError: It cannot.
    """
    size = recipe.data.batch_size
    if launch.count == 1:
        return
    if size == "auto":
        raise RecipeError(
            f"data.batch_size: auto measures what one process has room for, found {launch.count} processes. Give the "
            "number of images that they have together, such as 64."
        )
    if size % launch.count:
        nearest = max(round(size / launch.count), 1) * launch.count
        raise RecipeError(
            f"data.batch_size: is shared out evenly among the processes, found {size} for {launch.count}. Take a "
            f"multiple, such as {nearest}, or another number of processes."
        )


def require_same_images(splits: Splits, processes: Processes) -> None:
    """Check that every process has found the same splits, so that no image is missed or comes twice.

    Raises:
        DataError: One, perhaps on another machine, has others.
    """
    if processes.count == 1:
        return
    parts = {split.name.value: split for split in (splits.train, splits.val, splits.test) if split is not None}
    found = processes.gather({name: (len(split), split.fingerprint) for name, split in parts.items()})
    for rank, theirs in enumerate(found):
        for name in found[0]:
            if theirs.get(name) != found[0][name]:
                count = theirs[name][0] if name in theirs else 0
                raise DataError(
                    f"data: all processes must find the same images, found {found[0][name][0]:,} in the {name} split "
                    f"of process 0 and {count:,} in that of process {rank}, or other content. Give every machine the "
                    "same data."
                )


def take_over(
    original: Network, student: Network, trials: tuple[Trial, ...], processes: Processes
) -> tuple[Network, tuple[Trial, ...]]:
    """Return the network that process 0 has converted, its new weights still to be taken over, and its trials.

    Args:
        original: The network before.
        student: In process 0 the converted one.
        trials: In process 0 the budgets that were tried.
        processes: All of them.
    """
    plan, trials = processes.broadcast((student.plan, trials))
    if processes.is_first or plan is None:
        return student, trials
    return replay_plan(original, plan), trials
