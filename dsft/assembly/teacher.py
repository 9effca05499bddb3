"""The teacher of a distillation: it must know the task."""

from __future__ import annotations

from pathlib import Path

from dsft.assembly.network import Network, load_folder
from dsft.errors import RecipeError
from dsft.recipe.sections import DistillSection

ORIGINAL = "original"


def choose_teacher(section: DistillSection | None, original: Network, classes: tuple[str, ...]) -> Network | None:
    """Return the network to learn from, or None where nothing is distilled.

    Args:
        section: The recipe's distill section.
        original: The network before conversion; its class table is what its own weights were trained on.
        classes: The class table of the data.

    Raises:
        RecipeError: The teacher's class table is unknown or not that of the data.
    """
    if section is None or section.logits == 0:
        return None
    teacher = original if section.teacher == ORIGINAL else load_folder(Path(section.teacher))
    if teacher.classes != classes:
        raise RecipeError(_unfit(section.teacher, teacher, classes))
    if teacher.preprocessing.channels != original.preprocessing.channels:
        raise RecipeError(
            f"distill.teacher {section.teacher!r}: takes images of {teacher.preprocessing.channels} channels, the "
            f"network that learns takes {original.preprocessing.channels}. Choose a teacher with the same input."
        )
    return teacher


def _unfit(name: str, teacher: Network, classes: tuple[str, ...]) -> str:
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
