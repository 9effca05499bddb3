from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dsft.choices import DataSource
from dsft.commands.outputs import require_apart, require_outside
from dsft.errors import OutputError
from dsft.recipe.sections import DataSection
from tests.workshop import Workshop, dsft, write_pictures


def test_a_folder_that_is_replaced_holds_nothing_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out" / "model").mkdir(parents=True)
    (tmp_path / "out" / "model" / "weights").touch()
    (tmp_path / "output").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("out", "out/model", "output/../out/model/weights"):
        with pytest.raises(OutputError, match=f"contains '{name}', which this command reads, so it cannot be replaced"):
            require_apart(Path("out"), (None, name))
    # Neighbours, and words that are no paths.
    require_apart(Path("out"), (None, "output", "original", "out/nothing"))


def test_an_output_is_no_class_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("pictures/cat", "divided/train/cat", "runs"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "pictures")
    for root in (".", "../pictures", "~/pictures"):
        with pytest.raises(OutputError, match=rf"'runs/first': is inside the data folder '{root}', where it"):
            require_outside(Path("runs/first"), pictures_in(root))
    require_outside(Path("../runs/first"), pictures_in("."))
    require_outside(Path(".runs/first"), pictures_in("."))
    # Beside folders for each split others are left out.
    require_outside(tmp_path / "divided" / "runs", pictures_in(str(tmp_path / "divided")))
    require_outside(Path("runs"), DataSection(source=DataSource.DIGITS))
    require_outside(Path("runs"), pictures_in("nothing"))


@pytest.mark.parametrize("source", [DataSource.AUDIO, DataSource.FRAMES, DataSource.VIDEO, DataSource.VOLUMES])
def test_an_output_is_no_class_of_other_inputs_either(tmp_path: Path, source: DataSource) -> None:
    (tmp_path / "files" / "low").mkdir(parents=True)
    (tmp_path / "files.csv").touch()
    with pytest.raises(OutputError, match="is inside the data folder"):
        require_outside(tmp_path / "files" / "out", DataSection(source=source, root=str(tmp_path / "files")))
    require_outside(tmp_path / "out", DataSection(source=source, root=str(tmp_path / "files.csv")))


def pictures_in(root: str) -> DataSection:
    return DataSection(source=DataSource.FOLDER, root=root)


def test_an_evaluation_among_the_classes_is_refused(workshop: Workshop, here: Path) -> None:
    shutil.copytree(workshop.pictures, here / "pictures")
    done = dsft("evaluate", workshop.dense, "--data", here / "pictures", "--out", here / "pictures" / "scores")
    assert done.exit_code == 2
    assert "where it would count as a class" in done.stderr
    assert not (here / "pictures" / "scores").exists()


def test_a_run_among_the_classes_is_refused_before_it_begins(here: Path) -> None:
    write_pictures(here / "pictures", {"cat": 4, "dog": 4})
    (here / "r.yaml").write_text(
        "name: among\nversion: 1\nmodel: {source: timm, name: test_resnet}\n"
        "data: {source: folder, root: pictures, image_size: 32}\n"
    )
    done = dsft("train", "r.yaml", "output.dir=pictures/runs")
    assert done.exit_code == 2
    assert "is inside the data folder 'pictures'" in done.stderr
    assert sorted(path.name for path in (here / "pictures").iterdir()) == ["cat", "dog"]


def test_a_tilde_is_the_home_in_every_place_of_a_recipe(
    workshop: Workshop, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(here))
    shutil.copytree(workshop.dense, here / "mine")
    changes = ("model.path=~/mine/model", "distill.teacher=~/mine", "output.dir=~/out")
    assert dsft("finetune", str(workshop.separable_recipe), *changes, "--dry-run").exit_code == 0
    with pytest.raises(OutputError, match=r"contains '~/mine/model', which this command reads"):
        require_apart(here / "mine", ["~/mine/model"])
    (here / "out").mkdir()
    (here / "out" / "other").touch()
    assert "there is no recipe.yaml" in dsft("finetune", str(workshop.separable_recipe), *changes).stderr
