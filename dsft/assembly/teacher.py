"""The teacher of a distillation: it must know the task."""

from __future__ import annotations

from pathlib import Path

from dsft.assembly.network import Network, load_folder
from dsft.choices import ModelSource
from dsft.errors import RecipeError
from dsft.preprocessing import Preprocessing
from dsft.recipe.sections import DistillSection

ORIGINAL = "original"


def choose_teacher(
    section: DistillSection | None, original: Network, student: Network, classes: tuple[str, ...]
) -> Network | None:
    """Return the network to learn from, or None where nothing is distilled.

    Args:
        section: The recipe's distill section.
        original: The network before conversion; its class table is what its own weights were trained on.
        student: The network that learns.
        classes: The class table of the data.

    Raises:
        RecipeError: Logits are distilled and the teacher's class table is unknown or not that of the data, or it learnt
            another task; features
            are, and the student has no converted layer or the teacher is no such network; the teacher's images are
            normalised otherwise; or the original is itself converted.
    """
    if section is None or section.logits == section.features == 0:
        return None
    if section.teacher == ORIGINAL and original.plan is not None:
        raise RecipeError(
            "distill.teacher 'original': the network is converted already, so that its original is another one. Give "
            "the dense network's model folder as distill.teacher."
        )
    teacher = original if section.teacher == ORIGINAL else load_folder(Path(section.teacher))
    if section.features > 0:
        _require_like(section.teacher, teacher, student)
    if section.logits > 0 and (teacher.classes != classes or teacher.task is not student.task):
        raise RecipeError(_unfit(section.teacher, teacher, classes))
    _check_input(section.teacher, teacher.preprocessing, original.preprocessing)
    return teacher


def _require_like(name: str, teacher: Network, student: Network) -> None:
    """Check that the teacher has, dense, the layers that are converted in the student."""
    if student.plan is None or not student.plan.converted:
        raise RecipeError(
            "distill.features: compares converted layers with the teacher's, and the network has none. Add a convert "
            "section, or set distill.features=0."
        )
    own = student.spec
    if teacher.plan is not None or _architecture(teacher) != _architecture(student):
        kind = f"{teacher.spec}{', converted' if teacher.plan is not None else ''}"
        raise RecipeError(
            f"distill.teacher {name!r}: features are compared layer by layer, so that the teacher must be a dense "
            f"{own.source}/{own.name}, found {kind}. Choose such a one, or set distill.features=0."
        )


def _architecture(network: Network) -> tuple[ModelSource, str]:
    # What follows the dot in a name of timm's says where the weights come from.
    return network.spec.source, network.spec.name.partition(".")[0]


def _check_input(name: str, taught: Preprocessing, learning: Preprocessing) -> None:
    """Refuse a teacher that would see the images otherwise than it was trained to: both get the same tensors."""
    for key in ("channels", "mean", "std"):
        theirs, ours = getattr(taught, key), getattr(learning, key)
        if theirs != ours:
            raise RecipeError(
                f"distill.teacher {name!r}: takes images with {key} {theirs}, the network that learns with {ours}, and "
                "both are given the same. Choose a teacher with the same input."
            )


def _unfit(name: str, teacher: Network, classes: tuple[str, ...]) -> str:
    if teacher.classes == classes:
        return (
            f"distill.teacher {name!r}: the teacher must have learnt the same task, found one of task "
            f"{teacher.task.name}. Fine-tune the dense network on the data first and take its model folder, as "
            "model.path or as distill.teacher; or leave the distill section out."
        )
    known = (
        f"{len(teacher.classes)} classes ({', '.join(teacher.classes[:3])}, ...)"
        if teacher.classes is not None
        else "a class table that nobody told"
    )
    return (
        f"distill.teacher {name!r}: the teacher must know the {len(classes)} classes of the data "
        f"({', '.join(classes[:3])}, ...), found {known}. Fine-tune the dense network on the data first and take "
        "its model folder, as model.path or as distill.teacher; or leave the distill section out; or, where a "
        "checkpoint was trained on exactly these classes, say model.classes=data."
    )
