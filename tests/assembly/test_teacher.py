from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dsft.assembly import Network, load_folder
from dsft.assembly.teacher import load_teacher, require_converted_layers
from dsft.choices import TaskName
from dsft.errors import CheckpointError, RecipeError
from dsft.recipe import Recipe, load_recipe
from dsft.recipe.sections import DistillSection
from tests.workshop import CLASSES, Workshop


@pytest.fixture(scope="module")
def original(workshop: Workshop) -> Network:
    return load_folder(workshop.dense)


@pytest.fixture(scope="module")
def recipe(workshop: Workshop) -> Recipe:
    return load_recipe(str(workshop.separable_recipe))


def choose(
    recipe: Recipe, section: DistillSection | None, original: Network, classes: tuple[str, ...] = CLASSES
) -> Network | None:
    return load_teacher(recipe.model_copy(update={"distill": section}), original, classes)


def test_without_a_section_or_a_weight_there_is_none(recipe: Recipe, original: Network) -> None:
    assert choose(recipe, None, original) is None
    # What is not asked for need not fit.
    assert choose(recipe, DistillSection(teacher="nothere", logits=0.0), original, ("dog", "elk")) is None


def test_the_original_teaches_its_own_classes(recipe: Recipe, original: Network) -> None:
    assert choose(recipe, DistillSection(), original) is original


def test_another_model_folder_teaches_the_same_classes(recipe: Recipe, original: Network, workshop: Workshop) -> None:
    teacher = choose(recipe, DistillSection(teacher=str(workshop.separable)), original)
    assert teacher is not None
    assert teacher.plan is not None
    assert teacher.classes == CLASSES


@pytest.mark.parametrize("classes", [("dog", "elk"), (*CLASSES, "dog"), tuple(reversed(CLASSES))])
def test_a_teacher_of_other_classes_is_refused(recipe: Recipe, original: Network, classes: tuple[str, ...]) -> None:
    message = rf"the teacher must know the {len(classes)} classes of the data \({classes[0]}, .*found 3 classes \(ant"
    with pytest.raises(RecipeError, match=message):
        choose(recipe, DistillSection(), original, classes)


def test_so_is_one_whose_classes_are_unknown(recipe: Recipe, original: Network) -> None:
    nameless = dataclasses.replace(original, classes=None)
    with pytest.raises(RecipeError, match=r"found unknown class names\. .*set model\.classes=data"):
        choose(recipe, DistillSection(), nameless)


def test_so_is_one_that_takes_other_images(recipe: Recipe, original: Network, workshop: Workshop) -> None:
    gray = dataclasses.replace(original, preprocessing=original.preprocessing.replace(channels=1))
    with pytest.raises(RecipeError, match="takes inputs with channels 3, the student with 1"):
        choose(recipe, DistillSection(teacher=str(workshop.dense)), gray)


def test_so_is_a_folder_that_is_missing(recipe: Recipe, original: Network, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such folder"):
        choose(recipe, DistillSection(teacher=str(tmp_path / "nothere")), original)


def test_so_is_one_with_another_normalization(recipe: Recipe, original: Network, workshop: Workshop) -> None:
    other = dataclasses.replace(original, preprocessing=original.preprocessing.replace(std=(0.1,) * 3))
    with pytest.raises(RecipeError, match="takes inputs with std"):
        choose(recipe, DistillSection(teacher=str(workshop.dense)), other)


def test_a_converted_network_is_no_original(recipe: Recipe, workshop: Workshop) -> None:
    converted = load_folder(workshop.separable)
    with pytest.raises(RecipeError, match=r"converted already.*Give the dense network's model folder"):
        choose(recipe, DistillSection(), converted)


def test_features_need_no_class_table(recipe: Recipe, workshop: Workshop, original: Network) -> None:
    section = DistillSection(logits=0.0, features=1.0)
    assert choose(recipe, section, original, ("dog", "elk")) is original
    converted = load_folder(workshop.separable)
    folder = DistillSection(teacher=str(workshop.dense), logits=0.0, features=1.0)
    teacher = choose(recipe.model_copy(update={"convert": None}), folder, converted, ("dog", "elk"))
    assert teacher is not None
    assert teacher.plan is None
    with pytest.raises(RecipeError, match="the teacher must know the 2 classes"):
        choose(recipe, DistillSection(logits=0.1, features=1.0), original, ("dog", "elk"))


def test_features_are_those_of_the_same_layers(recipe: Recipe, workshop: Workshop, original: Network) -> None:
    section = DistillSection(features=1.0)
    none = r"distill\.features: compares converted layers .* and the network has none"
    with pytest.raises(RecipeError, match=none):
        choose(recipe.model_copy(update={"convert": None}), section, original)
    # A conversion may find that every layer should stay dense.
    with pytest.raises(RecipeError, match=none):
        require_converted_layers(section, original)
    require_converted_layers(section, load_folder(workshop.separable))
    folder = DistillSection(teacher=str(workshop.dense), features=1.0)
    other = dataclasses.replace(original, spec=dataclasses.replace(original.spec, name="resnet18.a1_in1k"))
    with pytest.raises(RecipeError, match=r"must be a dense timm/resnet18\.a1_in1k, found timm/test_resnet\."):
        choose(recipe, folder, other)
    with pytest.raises(RecipeError, match="found timm/test_resnet, converted"):
        choose(recipe, DistillSection(teacher=str(workshop.separable), features=1.0), original)
    tagged = dataclasses.replace(original, spec=dataclasses.replace(original.spec, name="test_resnet.r160_in1k"))
    assert choose(recipe, folder, tagged) is not None


def test_so_is_one_that_has_learned_another_task(recipe: Recipe, original: Network) -> None:
    tagging = recipe.model_copy(update={"task": TaskName.MULTI_LABEL})
    with pytest.raises(RecipeError, match=r"must have learned the task multi_label, found classification"):
        choose(tagging, DistillSection(), original)
