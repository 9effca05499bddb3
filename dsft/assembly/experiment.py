"""Build the parts of a run from its recipe, and check them as early as possible, before anything is written."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from torch import nn

from dsft.assembly.conversion import require_dense, require_fitting_input
from dsft.assembly.data import Loaders, load_batches, open_splits
from dsft.assembly.early_checks import require_held_out, require_valid_patterns, require_weights
from dsft.assembly.held_out import Training
from dsft.assembly.inputs import data_input
from dsft.assembly.network import Network, place_inputs
from dsft.assembly.recipe_model import load_network
from dsft.assembly.settings import fit_settings
from dsft.assembly.sharing import require_same_images, require_shares
from dsft.assembly.student import ConversionJob, knows_task, make_student
from dsft.assembly.teacher import load_teacher, require_converted_layers
from dsft.choices import ModelSource
from dsft.conversion import ConversionHistory, ConversionPlan
from dsft.data import Splits, class_weights, count_channels
from dsft.data.inputs import INPUTS
from dsft.devices import Compute, resolve_compute
from dsft.distributed.processes import ALONE, Processes
from dsft.errors import DataError
from dsft.models import head_parameters
from dsft.progress import Note, Report
from dsft.recipe import Recipe
from dsft.recipe.sections import ModelSection
from dsft.tasks import task_named
from dsft.training import TrainingSetup, steps_per_epoch
from dsft.training.batch_size import STEP_IMAGES, find_batch_size
from dsft.training.optim.freezing import plan_phases
from dsft.training.optim.optimizer import make_optimizer, require_known_optimizer


class Verb(StrEnum):
    """The two training commands: from random weights, or from existing ones."""

    TRAIN = "train"
    FINETUNE = "finetune"


@dataclass(frozen=True)
class RunData:
    """The images of a run: its splits, and the loaders of their batches."""

    splits: Splits
    loaders: Loaders


@dataclass(frozen=True)
class RunNetworks:
    """The networks of a run.

    Attributes:
        original: The network before conversion.
        student: The network that is trained: a converted copy, or the original itself.
        teacher: The network that is distilled from, or None.
        knows_task: Whether the original was trained on the classes of the data, so that it can be scored.
        history: How the conversion came about.
    """

    original: Network
    student: Network
    teacher: Network | None
    knows_task: bool
    history: ConversionHistory

    @property
    def trainings(self) -> tuple[Training, ...]:
        """What the weights of the original and of the teacher were trained on."""
        return (*self.original.trainings, *(self.teacher.trainings if self.teacher is not None else ()))


@dataclass(frozen=True)
class Experiment:
    """A run that is ready to start.

    Attributes:
        recipe: The recipe, with a number instead of ``data.batch_size: auto``.
        data: Its images.
        networks: Its networks.
        training: What is trained, how and where.
    """

    recipe: Recipe
    data: RunData
    networks: RunNetworks
    training: TrainingSetup


def prepare_experiment(
    recipe: Recipe,
    verb: Verb,
    report: Report,
    *,
    plan: ConversionPlan | None = None,
    processes: Processes = ALONE,
    module: nn.Module | None = None,
) -> Experiment:
    """Build and check everything that a recipe asks for; write nothing.

    What can be checked without the conversion is checked before it, since a conversion may take minutes.

    Args:
        recipe: What to do.
        verb: From random weights, or from existing ones.
        report: Receives notes on what is loaded and chosen.
        plan: The conversion plan of a run that is resumed: the plan is applied without deriving weights, since those
            of the checkpoint replace them. None converts as the recipe says.
        processes: The processes of the run. Process 0 converts and broadcasts the result.
        module: The user's own network, with ``model.source: python``; it is copied. None builds what the recipe names.

    Raises:
        InputError: Something in the recipe is unavailable or contradicts something else.
    """
    require_weights(recipe, may_have=verb is Verb.FINETUNE)
    require_shares(recipe, processes.launch)
    require_known_optimizer(recipe.optim.opt)
    compute = resolve_compute(recipe.train.device, recipe.train.amp, recipe.train.channels_last, processes.launch)
    splits, original = _open(recipe, compute, processes, report, module)
    if recipe.convert is not None:
        require_dense(original)
    weights = _class_weights(recipe, splits)
    teacher = load_teacher(recipe, original, splits.classes)
    is_scored = verb is Verb.FINETUNE and knows_task(original, recipe, splits.classes)
    networks = RunNetworks(original, original, teacher, is_scored, ConversionHistory())
    require_held_out(recipe, splits, networks.trainings, report)
    loaders = load_batches(recipe, splits, original.preprocessing, compute, processes.launch, report)
    setup = _training_setup(recipe, networks, weights, compute, processes)
    if recipe.convert is not None and plan is None:
        require_valid_patterns(setup, loaders.train)
    job = ConversionJob(recipe, splits, compute, is_trained=verb is Verb.FINETUNE, is_scored=is_scored)
    networks = _with_student(networks, job, plan, processes, report)
    setup = _training_setup(recipe, networks, weights, compute, processes)
    if recipe.data.batch_size == "auto":
        recipe = _with_batch_size(recipe, setup, networks.student, report)
        setup = _training_setup(recipe, networks, weights, compute, processes)
        loaders = load_batches(recipe, splits, original.preprocessing, compute, processes.launch)
    _check_setup(setup, loaders)
    return Experiment(recipe, RunData(splits, loaders), networks, setup)


def settle_batch_size(recipe: Recipe, batch_size: int | Literal["auto"], grad_accum: int) -> Recipe:
    """Return a recipe with the numbers that ``data.batch_size: auto`` stands for."""
    data = recipe.data.model_copy(update={"batch_size": batch_size})
    train = recipe.train.model_copy(update={"grad_accum": grad_accum})
    return recipe.model_copy(update={"data": data, "train": train})


def _open(
    recipe: Recipe, compute: Compute, processes: Processes, report: Report, module: nn.Module | None
) -> tuple[Splits, Network]:
    """Open the data and load the network before conversion, on its device."""
    may_download = recipe.data.download or recipe.model.pretrained
    # The first process of a machine downloads, the others find the files.
    with processes.local_first() if may_download else contextlib.nullcontext():
        splits = open_splits(recipe.data, report)
        _require_targets(recipe, splits)
        section, seed = _with_channels(recipe.model, splits), recipe.train.seed
        task = task_named(recipe.task)
        inputs = data_input(recipe.data, splits.train)
        original = place_inputs(
            load_network(section, splits.classes, recipe.data.image_size, seed, report, task, module, inputs),
            letterbox=recipe.data.letterbox,
            window_overlap=recipe.data.window_overlap,
            option="data.window_overlap",
        )
    require_same_images(splits, processes)
    compute.place_module(original.module)
    require_fitting_input(original, compute)
    return splits, original


def _require_targets(recipe: Recipe, splits: Splits) -> None:
    """Check that the data have the ground truth of the task; of some sources only the files tell."""
    needed, found = task_named(recipe.task).codec.target_kind, splits.train.target_kind
    if needed is not found:
        raise DataError(
            f"task: {recipe.task} needs {needed.description} for {splits.train.input_kind.with_article}, found "
            f"{found.description} in {splits.train.source.origin!r}. Set another task, or give other data."
        )


def _with_channels(section: ModelSection, splits: Splits) -> ModelSection:
    """Give a network with random weights as many input channels as the examples have."""
    if section.has_weights or section.in_chans is not None or section.source is ModelSource.PYTHON:
        return section
    return section.model_copy(update={"in_chans": count_channels(splits.train)})


def _class_weights(recipe: Recipe, splits: Splits) -> tuple[float, ...] | None:
    weights, train = recipe.data.class_weights, splits.train
    if weights is None:
        return None
    given = None if weights == "auto" else class_weights(train.classes, weights)
    return task_named(recipe.task).objective.class_weights(train.count_classes(), len(train), given)


def _with_student(
    networks: RunNetworks, job: ConversionJob, plan: ConversionPlan | None, processes: Processes, report: Report
) -> RunNetworks:
    """Convert the original, if the recipe asks for it; a teacher never shares its weights with the student."""
    student, history = make_student(networks.original, job, plan, processes, report)
    teacher = networks.teacher
    require_converted_layers(job.recipe.distill if teacher is not None else None, student)
    if teacher is not None and teacher.module is student.module:
        teacher = dataclasses.replace(teacher, module=copy.deepcopy(teacher.module))
    return dataclasses.replace(networks, student=student, teacher=teacher, history=history)


def _training_setup(
    recipe: Recipe,
    networks: RunNetworks,
    weights: tuple[float, ...] | None,
    compute: Compute,
    processes: Processes,
) -> TrainingSetup:
    student, teacher = networks.student, networks.teacher
    layers = student.plan.converted if student.plan is not None else ()
    prefixes = tuple(f"{alias}." for layer in layers for alias in layer.aliases)
    settings = fit_settings(
        recipe,
        has_teacher=teacher is not None,
        layers=tuple(layer.name for layer in layers),
        class_weights=weights,
    )
    return TrainingSetup(
        student.module,
        settings,
        compute,
        teacher=teacher.module if teacher is not None else None,
        head=head_parameters(student.module),
        converted=tuple(name for name, _ in student.module.named_parameters() if name.startswith(prefixes)),
        processes=processes,
    )


def _with_batch_size(recipe: Recipe, setup: TrainingSetup, student: Network, report: Report) -> Recipe:
    """Return a recipe whose steps of a fixed number of images consist of as few batches as fit into memory."""
    example = INPUTS[student.preprocessing.kind].blank(student.preprocessing, 1)
    size = find_batch_size(setup, example, student.spec.num_classes)
    parts = STEP_IMAGES // size
    report(
        Note(
            f"data.batch_size: auto takes {size}, so that a step of {STEP_IMAGES} "
            f"{student.preprocessing.kind.plural} is {parts} x {size}."
        )
    )
    return settle_batch_size(recipe, size, parts)


def _check_setup(setup: TrainingSetup, loaders: Loaders) -> None:
    """Resolve phases and parameter groups, whose errors only the converted network shows."""
    settings = setup.settings
    steps = max(steps_per_epoch(loaders.train, settings), 1)
    plan_phases(setup.module, settings.freeze, steps_per_epoch=steps, head=setup.head, converted=setup.converted)
    make_optimizer(setup.module, settings.optimizer, {"head": setup.head, "converted": setup.converted})
