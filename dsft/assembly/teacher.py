"""The teacher of a distillation, which must have learned the task of the run."""

from __future__ import annotations

from pathlib import Path

from dsft.assembly.model_folder import load_folder, needs_builder
from dsft.assembly.network import Network
from dsft.choices import ModelSource
from dsft.errors import RecipeError
from dsft.models import Builder
from dsft.preprocessing import InputPreprocessing
from dsft.recipe import Recipe
from dsft.recipe.sections import DistillSection
from dsft.tasks import Task, task_named

ORIGINAL = "original"

_WAY_OUT = (
    "Fine-tune the dense network on the data first and use its model folder, as model.path or as distill.teacher; or "
    "leave the distill section out"
)


def load_teacher(recipe: Recipe, original: Network, classes: tuple[str, ...]) -> Network | None:
    """Return the network to distill from, or None if the recipe distills nothing.

    This is done before the conversion, which takes long: everything but the layers that it will convert is known.

    Args:
        recipe: The recipe.
        original: The network before conversion; its class table is that of its own weights.
        classes: The class table of the data.

    Raises:
        RecipeError: Logits are distilled, and the teacher's classes are unknown or not those of the data, or it has
            learned another task. Or features are distilled, and nothing is converted or the teacher has another
            architecture. Or the teacher's images are normalized differently. Or the original is converted already.
    """
    section = recipe.distill
    if section is None or section.logits == section.features == 0:
        return None
    if section.teacher == ORIGINAL and original.is_converted:
        raise RecipeError(
            "distill.teacher 'original': the network is converted already, so its original is another one. Give the "
            "dense network's model folder as distill.teacher."
        )
    teacher = original if section.teacher == ORIGINAL else _load_folder(recipe, Path(section.teacher))
    if section.features > 0:
        _require_same_layers(section.teacher, teacher, original, has_conversion=recipe.convert is not None)
    if section.logits > 0:
        _require_task(section.teacher, teacher, classes, task_named(recipe.task))
    _require_same_input(section.teacher, teacher.preprocessing, original.preprocessing)
    return teacher


def require_converted_layers(section: DistillSection | None, student: Network) -> None:
    """Check that the student has converted layers whose outputs can be compared with the teacher's.

    Raises:
        RecipeError: Features are distilled, and it has none.
    """
    if section is not None and section.features > 0 and not student.is_converted:
        raise RecipeError(
            "distill.features: compares converted layers with the teacher's, and the network has none. Add a convert "
            "section, or set distill.features=0."
        )


def _load_folder(recipe: Recipe, folder: Path) -> Network:
    name = recipe.model.builder if needs_builder(folder) else None
    return load_folder(folder, Builder.parse(name) if name is not None else None)


def _require_same_layers(name: str, teacher: Network, original: Network, *, has_conversion: bool) -> None:
    """Check that the teacher has, dense, the layers that are converted in the student."""
    if not has_conversion:
        require_converted_layers(DistillSection(features=1.0), original)
    if teacher.is_converted or _architecture(teacher) != _architecture(original):
        kind = f"{teacher.spec}{', converted' if teacher.is_converted else ''}"
        raise RecipeError(
            f"distill.teacher {name!r}: features are compared layer by layer, so the teacher must be a dense "
            f"{original.spec}, found {kind}. Choose such a teacher, or set distill.features=0."
        )


def _architecture(network: Network) -> tuple[ModelSource, str]:
    # In a name of timm's, the part after the dot says where the weights come from.
    return network.spec.source, network.spec.name.partition(".")[0]


def _require_same_input(name: str, teacher: InputPreprocessing, student: InputPreprocessing) -> None:
    """Check that the teacher was trained on images with the same normalization: both networks get the same tensors."""
    for key in teacher.shared_keys:
        theirs, ours = getattr(teacher, key), getattr(student, key, None)
        if theirs != ours:
            raise RecipeError(
                f"distill.teacher {name!r}: takes inputs with {key} {theirs}, the student with {ours}, and both are "
                "given the same inputs. Choose a teacher with the same input."
            )


def _require_task(name: str, teacher: Network, classes: tuple[str, ...], task: Task) -> None:
    if teacher.classes == classes:
        if teacher.task is task:
            return
        raise RecipeError(
            f"distill.teacher {name!r}: the teacher must have learned the task {task.name}, found {teacher.task.name}. "
            f"{_WAY_OUT}."
        )
    found = (
        f"{len(teacher.classes)} classes ({', '.join(teacher.classes[:3])}, ...)"
        if teacher.classes is not None
        else "unknown class names"
    )
    raise RecipeError(
        f"distill.teacher {name!r}: the teacher must know the {len(classes)} classes of the data "
        f"({', '.join(classes[:3])}, ...), found {found}. {_WAY_OUT}; or, if a checkpoint was trained on exactly these "
        "classes, set model.classes=data."
    )
