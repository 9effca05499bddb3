"""The network that a run trains: the original, or a converted copy that is the same in every process."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from dsft.assembly.calibration import draw_calibration
from dsft.assembly.conversion import convert_network, read_request, replay_plan
from dsft.assembly.network import Network
from dsft.assembly.sharing import share_conversion
from dsft.assembly.val_score import ValScorer
from dsft.choices import Method
from dsft.conversion import ConversionHistory, ConversionPlan
from dsft.data import Splits
from dsft.devices import Compute
from dsft.distributed.processes import Processes
from dsft.errors import RecipeError
from dsft.progress import Report, ignore
from dsft.recipe import Recipe
from dsft.recipe.sections import ConvertSection
from dsft.tasks import task_named


@dataclass(frozen=True)
class ConversionJob:
    """The conversion that a recipe asks for.

    Attributes:
        recipe: The recipe.
        splits: The images: train calibrates the conversion, val scores it under a budget of ``max_drop``.
        compute: Where the networks are.
        is_trained: Whether the original has weights to keep.
        is_scored: Whether it was trained on the classes of the data, so that its score on val means something.
    """

    recipe: Recipe
    splits: Splits
    compute: Compute
    is_trained: bool
    is_scored: bool


def knows_task(network: Network, recipe: Recipe, classes: tuple[str, ...]) -> bool:
    """Return whether a network was trained for the recipe's task on these classes."""
    return network.classes == classes and network.task is task_named(recipe.task)


def make_student(
    original: Network, job: ConversionJob, plan: ConversionPlan | None, processes: Processes, report: Report
) -> tuple[Network, ConversionHistory]:
    """Return the network to train, the same in every process, and how its conversion came about.

    Args:
        original: The network before conversion; it is left unchanged.
        job: The conversion that is asked for, if the recipe has one.
        plan: The conversion plan of a run that is resumed; its new layers get random weights. None to convert.
        processes: The processes of the run; process 0 converts.
        report: Receives the progress.

    Raises:
        InputError: The conversion cannot be done.
    """
    section = job.recipe.convert
    student, history = original, ConversionHistory()
    if plan is not None:
        student = replay_plan(original, plan)
    elif section is not None:
        if processes.is_first:
            student, history = _convert(original, job, section, report)
        student, history = share_conversion(original, student, history, processes)
    processes.broadcast_module(student.module)
    task = task_named(job.recipe.task)
    return student if student.task is task else dataclasses.replace(student, task=task), history


def _convert(
    original: Network, job: ConversionJob, section: ConvertSection, report: Report
) -> tuple[Network, ConversionHistory]:
    recipe, splits, compute = job.recipe, job.splits, job.compute
    request = read_request(section, recipe.train.seed, is_trained=job.is_trained)
    if request.max_drop is not None and not job.is_scored:
        label = task_named(recipe.task).scorer.layout.main.label
        raise RecipeError(
            f"convert.budget.max_drop: needs the network's {label} on val, and this network was not trained on the "
            "classes of the data. Fine-tune it first without the section convert, or use a budget of macs."
        )
    calibration: Sequence[Tensor] = ()
    if request.method is Method.REFIT:
        images = section.calibration.images
        calibration = draw_calibration(splits.train, recipe.data, original.preprocessing, compute, images, request.seed)
    score = ValScorer(splits.val, len(splits.val), recipe.data, compute, ignore).points
    return convert_network(
        original, request, compute, report, calibration=calibration, score=score, is_trained=job.is_trained
    )
