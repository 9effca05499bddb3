"""A whole recipe becomes everything that a run needs, checked, before anything is written."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from torch import Tensor

from dsft.assembly.calibration import draw_calibration
from dsft.assembly.conversion import (
    convert_network,
    read_request,
    replay_plan,
    require_fitting_images,
)
from dsft.assembly.data import Loaders, load_batches, open_splits
from dsft.assembly.held_out import ROLES, Training, count_seen, record_training
from dsft.assembly.network import Network, load_network
from dsft.assembly.settings import fit_settings
from dsft.assembly.sharing import require_same_images, require_shares, take_over
from dsft.assembly.teacher import choose_teacher
from dsft.assembly.val_score import ValScorer
from dsft.choices import Method, ModelSource, Runtime, SplitName
from dsft.conversion import ConversionPlan
from dsft.conversion.planning.accuracy_search import Trial
from dsft.data import Splits, class_weights, count_channels
from dsft.devices import Compute, resolve_compute
from dsft.distributed.processes import ALONE, Processes
from dsft.errors import DataError, RecipeError
from dsft.models import head_parameters
from dsft.progress import Note, Report, Warn, ignore
from dsft.recipe import Recipe
from dsft.recipe.sections import ConvertSection, ModelSection
from dsft.tasks import Task, task_named
from dsft.training import FitSettings, TrainingSetup, steps_per_epoch
from dsft.training.batch_size import STEP_IMAGES, find_batch_size
from dsft.training.optim.freezing import plan_phases
from dsft.training.optim.optimizer import make_optimizer, require_known_optimizer


class Verb(StrEnum):
    """The two commands that train: from random weights, or from ones that exist."""

    TRAIN = "train"
    FINETUNE = "finetune"


@dataclass(frozen=True)
class Experiment:
    """A run that can start.

    Attributes:
        recipe: What was asked for.
        splits: The images.
        loaders: Their batches.
        compute: Where and how networks run.
        original: The network before conversion.
        student: The network that is trained: a converted copy, or the original itself.
        knows_task: The original's head was trained on the classes of the data, so its score means something.
        teacher: The network to learn from, or None.
        earlier: What the weights of the original and of the teacher were trained on.
        settings: What the loop is told.
        head: Names of the parameters of the student's classifiers.
        converted: Names of the parameters of its separable layers.
        trials: The budgets that were tried, where the one was searched for.
        processes: Those that share the run.
    """

    recipe: Recipe
    splits: Splits
    loaders: Loaders
    compute: Compute
    original: Network
    student: Network
    knows_task: bool
    teacher: Network | None
    earlier: tuple[Training, ...]
    settings: FitSettings
    head: tuple[str, ...]
    converted: tuple[str, ...]
    trials: tuple[Trial, ...]
    processes: Processes

    @property
    def is_converted(self) -> bool:
        """Whether this run converts the network."""
        return self.recipe.convert is not None

    @property
    def training_setup(self) -> TrainingSetup:
        """The student, its teacher and how it is trained."""
        return TrainingSetup(
            self.student.module,
            self.settings,
            self.compute,
            teacher=self.teacher.module if self.teacher is not None else None,
            head=self.head,
            converted=self.converted,
            processes=self.processes,
        )

    @property
    def runtime(self) -> Runtime:
        """What runs the network while its conversion is timed."""
        budget = self.recipe.convert.budget if self.recipe.convert is not None else None
        return budget.runtime if budget is not None else Runtime.EAGER


def prepare_experiment(
    recipe: Recipe,
    verb: Verb,
    report: Report,
    *,
    plan: ConversionPlan | None = None,
    processes: Processes = ALONE,
) -> Experiment:
    """Build and check everything that a recipe asks for; write nothing.

    Args:
        recipe: What to do.
        verb: From random weights, or from ones that exist.
        report: Receives what was taken from where.
        plan: The conversion that was made when the run began, whose weights are loaded later: it is not made again,
            since it takes long and hangs on what is measured. None where the recipe is to be converted, if at all.
        processes: Those that share the run. Process 0 converts, and the others take over what came of it.

    Raises:
        InputError: Something in the recipe cannot be had, or does not go together.
    """
    _check_verb(recipe, verb)
    require_shares(recipe, processes.launch)
    task = task_named(recipe.task)
    require_known_optimizer(recipe.optim.opt)
    compute = resolve_compute(recipe.train.device, recipe.train.amp, recipe.train.channels_last, processes.launch)
    # What the first one downloads the others find.
    with processes.in_turn() if recipe.data.download or recipe.model.pretrained else contextlib.nullcontext():
        splits = open_splits(recipe.data, report)
        # Told before a conversion, which takes its time.
        weights = _class_weights(recipe, splits)
        section = _with_channels(recipe.model, splits)
        original = load_network(section, splits.classes, recipe.data.image_size, recipe.train.seed, report, task)
    require_same_images(splits, processes)
    compute.place_module(original.module)
    require_fitting_images(original, compute)
    student, trials = _make_student(original, splits, recipe, verb, compute, report, plan, processes)
    teacher = choose_teacher(recipe.distill, original, student, splits.classes)
    earlier = (*original.trainings, *(teacher.trainings if teacher is not None else ()))
    _check_held_out(recipe, splits, earlier, report)
    if teacher is original and student.module is original.module:
        teacher = dataclasses.replace(original, module=copy.deepcopy(original.module))
    settings = fit_settings(
        recipe,
        has_teacher=teacher is not None,
        layers=_converted_layers(student),
        class_weights=weights,
    )
    if recipe.data.batch_size == "auto":
        recipe = _with_batch_size(recipe, student, teacher, settings, compute, report)
        settings = dataclasses.replace(settings, grad_accum=recipe.train.grad_accum)
    experiment = Experiment(
        recipe=recipe,
        splits=splits,
        loaders=load_batches(recipe, splits, original.preprocessing, compute, processes.launch),
        compute=compute,
        original=original,
        student=student,
        knows_task=verb is Verb.FINETUNE and _knows_task(original, splits, task),
        teacher=teacher,
        earlier=earlier,
        settings=settings,
        head=head_parameters(student.module),
        converted=_converted_parameters(student),
        trials=trials,
        processes=processes,
    )
    _check_settings(experiment)
    return experiment


def _make_student(
    original: Network,
    splits: Splits,
    recipe: Recipe,
    verb: Verb,
    compute: Compute,
    report: Report,
    plan: ConversionPlan | None,
    processes: Processes,
) -> tuple[Network, tuple[Trial, ...]]:
    """Return the network that is trained, the same in every process, and the budgets that were tried for it."""
    student, trials = original, tuple[Trial, ...]()
    if plan is not None:
        student = replay_plan(original, plan)
    elif recipe.convert is not None:
        if processes.is_first:
            student, trials = _convert(original, splits, recipe, recipe.convert, verb, compute, report)
        student, trials = take_over(original, student, trials, processes)
    processes.broadcast_module(student.module)
    task = task_named(recipe.task)
    return student if student.task is task else dataclasses.replace(student, task=task), trials


def _with_batch_size(
    recipe: Recipe, student: Network, teacher: Network | None, settings: FitSettings, compute: Compute, report: Report
) -> Recipe:
    """Return a recipe whose steps of a fixed number of images are made of as few batches as fit into memory."""
    setup = TrainingSetup(student.module, settings, compute, teacher=teacher.module if teacher is not None else None)
    image_shape = (student.preprocessing.channels, *student.preprocessing.image_size)
    size = find_batch_size(setup, image_shape, student.spec.num_classes)
    parts = STEP_IMAGES // size
    report(Note(f"data.batch_size: auto takes {size}, so that a step of {STEP_IMAGES} images is {parts} x {size}."))
    return settle_batch_size(recipe, size, parts)


def settle_batch_size(recipe: Recipe, batch_size: int | Literal["auto"], grad_accum: int) -> Recipe:
    """Return a recipe with the numbers that ``auto`` stands for."""
    data = recipe.data.model_copy(update={"batch_size": batch_size})
    train = recipe.train.model_copy(update={"grad_accum": grad_accum})
    return recipe.model_copy(update={"data": data, "train": train})


def _convert(
    network: Network,
    splits: Splits,
    recipe: Recipe,
    section: ConvertSection,
    verb: Verb,
    compute: Compute,
    report: Report,
) -> tuple[Network, tuple[Trial, ...]]:
    is_trained = verb is Verb.FINETUNE
    request = read_request(section, recipe.train.seed, is_trained=is_trained)
    task = task_named(recipe.task)
    if request.max_drop is not None and not (is_trained and _knows_task(network, splits, task)):
        raise RecipeError(
            f"convert.budget.max_drop: a network is scored by its {task.scorer.layout.main.label} on val, which one "
            "that was not trained on the classes of the data does not have. Fine-tune it first without the section "
            "convert, or ask for macs."
        )
    calibration: Sequence[Tensor] = ()
    if request.method is Method.REFIT:
        images = section.calibration.images
        calibration = draw_calibration(splits.train, recipe.data, network.preprocessing, compute, images, request.seed)
    score = ValScorer(splits.val, recipe.data, compute, ignore).points
    return convert_network(
        network, request, compute, report, calibration=calibration, score=score, is_trained=is_trained
    )


def _knows_task(network: Network, splits: Splits, task: Task) -> bool:
    return network.classes == splits.classes and network.task is task


def _with_channels(section: ModelSection, splits: Splits) -> ModelSection:
    """Give a network with random weights the channels that the images have."""
    if section.has_weights or section.in_chans is not None or section.source is ModelSource.PYTHON:
        return section
    return section.model_copy(update={"in_chans": count_channels(splits.train)})


def _class_weights(recipe: Recipe, splits: Splits) -> tuple[float, ...] | None:
    weights, train = recipe.data.class_weights, splits.train
    if weights is None:
        return None
    given = None if weights == "auto" else class_weights(train.classes, weights)
    return task_named(recipe.task).objective.class_weights(train.count_classes(), len(train), given)


def _converted_layers(network: Network) -> tuple[str, ...]:
    return tuple(layer.name for layer in network.plan.converted) if network.plan is not None else ()


def _converted_parameters(network: Network) -> tuple[str, ...]:
    layers = network.plan.converted if network.plan is not None else ()
    prefixes = tuple(f"{alias}." for layer in layers for alias in layer.aliases)
    return tuple(name for name, _ in network.module.named_parameters() if name.startswith(prefixes))


def _check_held_out(recipe: Recipe, splits: Splits, earlier: Sequence[Training], report: Report) -> None:
    """Check that no network that takes part has been trained on the images that are to measure it.

    Raises:
        DataError: Images of the test split, which is to be scored, trained or chose one.
    """
    if all(record_training(recipe.data, splits) == training for training in earlier):
        return
    for name in dict.fromkeys([SplitName.VAL, *recipe.evaluate.splits]):
        split = splits.get(name)
        seen = {role: n for role, n in count_seen(split, earlier).items() if (name, role) != (SplitName.VAL,) * 2}
        for role, count in seen.items():
            message = (
                f"data: {count:,} of the {len(split):,} images of the {name} split {ROLES[role]} the network that this "
                "run starts from or learns from, so they are not held out. Use the same data, splits and data.seed as "
                "its run"
            )
            if name is SplitName.TEST:
                raise DataError(f"{message}, or leave test out of evaluate.splits.")
            report(Warn(f"{message}."))


def _check_settings(experiment: Experiment) -> None:
    """Make what only the network can tell to be wrong, so that it is told before anything is written."""
    module, settings = experiment.student.module, experiment.settings
    plan_phases(
        module,
        settings.freeze,
        steps_per_epoch=max(steps_per_epoch(experiment.loaders.train, settings), 1),
        head=experiment.head,
        converted=experiment.converted,
    )
    make_optimizer(module, settings.optimizer, {"head": experiment.head, "converted": experiment.converted})


def _check_verb(recipe: Recipe, verb: Verb) -> None:
    model = recipe.model
    # A builder may return a network with weights of its own.
    if verb is Verb.FINETUNE and not model.has_weights and model.source is not ModelSource.PYTHON:
        raise RecipeError(
            "model: dsft finetune starts from weights, found none. Set model.pretrained=true or "
            "model.checkpoint=FILE, or use dsft train."
        )
    if verb is Verb.TRAIN and model.has_weights:
        raise RecipeError(
            "model: dsft train starts from random weights, found a source of weights (pretrained, checkpoint or "
            "source: dsft). Use dsft finetune."
        )
    if verb is Verb.TRAIN and recipe.distill is not None and recipe.distill.teacher == "original":
        raise RecipeError(
            "distill.teacher 'original': dsft train has no trained original to learn from. Give a model folder as "
            "distill.teacher, or leave the section out."
        )
