from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dsft.assembly import Network, load_folder
from dsft.assembly.teacher import choose_teacher
from dsft.errors import CheckpointError, RecipeError
from dsft.recipe.sections import DistillSection
from dsft.tasks import MULTI_LABEL
from tests.workshop import CLASSES, Workshop


@pytest.fixture(scope="module")
def original(workshop: Workshop) -> Network:
    return load_folder(workshop.dense)


def test_without_a_section_or_a_weight_there_is_none(original: Network) -> None:
    assert choose_teacher(None, original, original, CLASSES) is None
    # What is not asked for need not fit.
    assert choose_teacher(DistillSection(teacher="nothere", logits=0.0), original, original, ("dog", "elk")) is None


def test_the_original_teaches_its_own_classes(original: Network) -> None:
    assert choose_teacher(DistillSection(), original, original, CLASSES) is original


def test_another_model_folder_teaches_the_same_classes(original: Network, workshop: Workshop) -> None:
    teacher = choose_teacher(DistillSection(teacher=str(workshop.separable)), original, original, CLASSES)
    assert teacher is not None
    assert teacher.plan is not None
    assert teacher.classes == CLASSES


@pytest.mark.parametrize("classes", [("dog", "elk"), (*CLASSES, "dog"), tuple(reversed(CLASSES))])
def test_a_teacher_of_other_classes_is_refused(original: Network, classes: tuple[str, ...]) -> None:
    message = rf"the teacher must know the {len(classes)} classes of the data \({classes[0]}, .*found 3 classes \(ant"
    with pytest.raises(RecipeError, match=message):
        choose_teacher(DistillSection(), original, original, classes)


def test_so_is_one_whose_classes_nobody_told(original: Network) -> None:
    nameless = dataclasses.replace(original, classes=None)
    with pytest.raises(RecipeError, match=r"found a class table that nobody told\. .*say model\.classes=data"):
        choose_teacher(DistillSection(), nameless, nameless, CLASSES)


def test_so_is_one_that_takes_other_images(original: Network, workshop: Workshop) -> None:
    gray = dataclasses.replace(original, preprocessing=dataclasses.replace(original.preprocessing, channels=1))
    with pytest.raises(RecipeError, match="takes images with channels 3, the network that learns with 1"):
        choose_teacher(DistillSection(teacher=str(workshop.dense)), gray, gray, CLASSES)


def test_so_is_a_folder_that_is_not_there(original: Network, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such folder"):
        choose_teacher(DistillSection(teacher=str(tmp_path / "nothere")), original, original, CLASSES)


def test_so_is_one_that_normalises_otherwise(original: Network, workshop: Workshop) -> None:
    other = dataclasses.replace(original, preprocessing=dataclasses.replace(original.preprocessing, std=(0.1,) * 3))
    with pytest.raises(RecipeError, match="takes images with std"):
        choose_teacher(DistillSection(teacher=str(workshop.dense)), other, other, CLASSES)


def test_a_converted_network_is_no_original(workshop: Workshop) -> None:
    converted = load_folder(workshop.separable)
    with pytest.raises(RecipeError, match=r"converted already.*Give the dense network's model folder"):
        choose_teacher(DistillSection(), converted, converted, CLASSES)


def test_features_need_no_class_table(workshop: Workshop, original: Network) -> None:
    student = load_folder(workshop.separable)
    section = DistillSection(logits=0.0, features=1.0)
    assert choose_teacher(section, original, student, ("dog", "elk")) is original
    folder = DistillSection(teacher=str(workshop.dense), logits=0.0, features=1.0)
    teacher = choose_teacher(folder, student, student, ("dog", "elk"))
    assert teacher is not None
    assert teacher.plan is None
    with pytest.raises(RecipeError, match="the teacher must know the 2 classes"):
        choose_teacher(DistillSection(logits=0.1, features=1.0), original, student, ("dog", "elk"))


def test_features_are_those_of_the_same_layers(workshop: Workshop, original: Network) -> None:
    student = load_folder(workshop.separable)
    section = DistillSection(features=1.0)
    with pytest.raises(RecipeError, match=r"distill\.features: compares converted layers .* and the network has none"):
        choose_teacher(section, original, original, CLASSES)
    other = dataclasses.replace(original, spec=dataclasses.replace(original.spec, name="resnet18.a1_in1k"))
    with pytest.raises(RecipeError, match=r"must be a dense timm/test_resnet, found timm/resnet18\.a1_in1k"):
        choose_teacher(section, other, student, CLASSES)
    with pytest.raises(RecipeError, match="found timm/test_resnet, converted"):
        choose_teacher(DistillSection(teacher=str(workshop.separable), features=1.0), original, student, CLASSES)
    tagged = dataclasses.replace(original, spec=dataclasses.replace(original.spec, name="test_resnet.r160_in1k"))
    assert choose_teacher(section, tagged, student, CLASSES) is tagged


def test_so_is_one_that_learnt_another_task(original: Network) -> None:
    student = dataclasses.replace(original, task=MULTI_LABEL)
    with pytest.raises(RecipeError, match=r"must have learnt the same task, found one of task classification"):
        choose_teacher(DistillSection(), original, student, CLASSES)
