"""Checks and transfers between processes before they train a network together."""

from __future__ import annotations

from dsft.assembly.conversion import replay_plan
from dsft.assembly.network import Network
from dsft.conversion import ConversionHistory
from dsft.data import Splits
from dsft.distributed.launch import Launch
from dsft.distributed.processes import Processes
from dsft.errors import DataError, RecipeError
from dsft.recipe import Recipe


def require_shares(recipe: Recipe, launch: Launch) -> None:
    """Check that a batch can be divided evenly among the processes.

    Raises:
        RecipeError: It cannot.
    """
    size = recipe.data.batch_size
    if launch.count == 1:
        return
    if size == "auto":
        raise RecipeError(
            f"data.batch_size: auto measures the memory of a single process, found {launch.count} processes. Set it "
            "to the number of examples of all processes together, such as 64."
        )
    if size % launch.count:
        nearest = max(round(size / launch.count), 1) * launch.count
        raise RecipeError(
            f"data.batch_size: must be a multiple of the number of processes, found {size} for {launch.count}. Use one "
            f"such as {nearest}, or another number of processes."
        )


def require_same_images(splits: Splits, processes: Processes) -> None:
    """Check that all processes have the same splits, so that every image is used exactly once.

    Raises:
        DataError: A process, perhaps on another machine, has other images.
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
                    f"data: all processes must find the same examples, found {found[0][name][0]:,} in the {name} split "
                    f"of process 0 and {count:,} in that of process {rank}, or with other contents. Copy the same data "
                    "to every machine."
                )


def share_conversion(
    original: Network, student: Network, history: ConversionHistory, processes: Processes
) -> tuple[Network, ConversionHistory]:
    """Return the network that process 0 has converted, in other processes without its weights, and how it came about.

    Args:
        original: The network before conversion.
        student: In process 0 the converted network.
        history: In process 0 how the conversion came about.
        processes: The processes of the run.
    """
    plan, history = processes.broadcast((student.plan, history))
    if processes.is_first or plan is None:
        return student, history
    return replay_plan(original, plan), history
