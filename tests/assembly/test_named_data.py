from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dsft.assembly.held_out import Training
from dsft.assembly.named_data import RECORDED, NamedData, folder_section
from dsft.choices import DataSource
from dsft.errors import DataError, InputError
from dsft.recipe import load_recipe
from tests.workshop import Workshop


def test_a_recipe_a_run_and_a_folder_of_images(workshop: Workshop) -> None:
    recipe = load_recipe(str(workshop.dense_recipe)).data
    assert NamedData(str(workshop.dense_recipe)).section(None, "x") == recipe
    assert NamedData(str(workshop.dense)).section(None, "x") == recipe
    images = NamedData(str(workshop.pictures))
    assert images.is_image_folder
    assert (images.section(None, "x").source, images.section(None, "x").root) == (
        DataSource.FOLDER,
        str(workshop.pictures),
    )


@pytest.mark.parametrize("name", [None, "dense_recipe", "pictures"])
def test_overrides_change_the_named_keys(workshop: Workshop, name: str | None) -> None:
    recorded = Training(load_recipe(str(workshop.dense_recipe)).data.model_dump(mode="json"), {})
    named = NamedData(name and str(getattr(workshop, name)), ("data.seed=7", "data.val={fraction: 0.3}"))
    section = named.section(recorded, "x")
    assert (section.seed, section.val.fraction, section.root) == (7, 0.3, workshop.pictures.as_posix())


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("cat/a.JPG", DataSource.FOLDER),
        ("high/a.wav", DataSource.AUDIO),
        ("train.npz", DataSource.ARRAYS),
        ("ill/a.nii.gz", DataSource.VOLUMES),
        ("jump/a.mp4", DataSource.VIDEO),
        ("notes.txt", DataSource.FOLDER),
    ],
)
def test_the_files_of_a_folder_determine_its_source(tmp_path: Path, file: str, source: DataSource) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    (tmp_path / ".hidden.png").touch()
    assert folder_section(tmp_path).source is source


def test_nothing_is_named_or_recorded() -> None:
    with pytest.raises(DataError, match=r"model 'x': records no data\. Give it with --data RECIPE\|FOLDER"):
        RECORDED.section(None, "x")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nowhere",
            r"^--data: expected a folder of images or other inputs, the folder of a run, or a recipe; no recipe",
        ),
        ("table.csv", r"--data 'table.csv': expected a recipe or a folder, found a table. Give a recipe with data: "),
        ("wrong.yaml", r"^\d+ problems|^wrong.yaml"),
        ("model", r"--data 'model': expected a recipe, or a folder of images or other inputs, found a model folder"),
        (
            "run",
            r"--data 'run': the folder of this run has no recipe.yaml. Give a recipe, or a folder of images or other",
        ),
    ],
)
def test_what_is_no_data_is_refused_before_anything_is_loaded(
    workshop: Workshop, here: Path, name: str, message: str
) -> None:
    (here / "wrong.yaml").write_text("version: 1\n", encoding="utf-8")
    shutil.copytree(workshop.dense / "model", here / "model")
    (here / "run").mkdir()
    shutil.copy(workshop.dense / "run.json", here / "run")
    with pytest.raises(InputError, match=message):
        NamedData(name).require_present()
