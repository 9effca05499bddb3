from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from dsft.assembly import open_splits
from dsft.assembly.held_out import Training, count_seen, provenance, record_training
from dsft.choices import DataSource, SplitName
from dsft.errors import CheckpointError
from dsft.progress import ignore
from dsft.recipe.sections import DataSection
from tests.workshop import dsft

DIGITS = DataSection(source=DataSource.DIGITS)


def test_the_test_split_of_the_same_draw_is_held_out() -> None:
    splits = open_splits(DIGITS, ignore)
    training = record_training(DIGITS, splits)
    assert count_seen(splits.get(SplitName.TEST), [training]) == {}
    assert count_seen(splits.train, [training]) == {SplitName.TRAIN: len(splits.train)}
    assert count_seen(splits.val, [training]) == {SplitName.VAL: len(splits.val)}


def test_another_draw_is_counted_image_by_image() -> None:
    splits = open_splits(DIGITS, ignore)
    other = open_splits(DIGITS.model_copy(update={"seed": 1}), ignore)
    test = other.get(SplitName.TEST)
    expected = {
        SplitName.TRAIN: len(set(test.keys) & set(splits.train.keys)),
        SplitName.VAL: len(set(test.keys) & set(splits.val.keys)),
    }
    assert expected[SplitName.TRAIN] > 100
    assert count_seen(test, [record_training(DIGITS, splits)]) == expected


def test_data_that_is_gone_is_recognised_as_a_whole_only(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(6):
            Image.new("L", (8, 8), 20 * number).save(tmp_path / name / f"{number}.png")
    section = DataSection(source=DataSource.FOLDER, root=str(tmp_path))
    splits = open_splits(section, ignore)
    training = record_training(section, splits)
    moved = dataclasses.replace(training, data={**training.data, "root": str(tmp_path / "gone")})
    assert count_seen(splits.train, [moved]) == {SplitName.TRAIN: len(splits.train)}
    # The last word on images that cannot be opened is that nothing is known.
    other = open_splits(section.model_copy(update={"seed": 1}), ignore)
    assert count_seen(other.get(SplitName.TEST), [moved]) == {}


def test_files_of_one_name_and_size_are_told_apart_by_their_pixels(tmp_path: Path) -> None:
    # Numbered from 0 in every folder, and all of one size, as files without compression are.
    shades = {"train": range(0, 80, 10), "test": (0, 100, 110, 120, 130, 140, 150, 160)}
    for split, values in shades.items():
        for number, shade in enumerate(values):
            path = tmp_path / "data" / split / "ab"[number % 2] / f"{number}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), shade).save(path)
    section = DataSection(source=DataSource.FOLDER, root=str(tmp_path / "data"))
    splits = open_splits(section, ignore)
    training = record_training(section, splits)
    twins = sum("0.bmp" in key for key in splits.train.keys)
    assert count_seen(splits.get(SplitName.TEST), [training]) == ({SplitName.TRAIN: 1} if twins else {SplitName.VAL: 1})
    # Of one place, also where it is written otherwise, the same file is the same image.
    (tmp_path / "link").symlink_to(tmp_path / "data")
    other = open_splits(section.model_copy(update={"root": str(tmp_path / "link"), "seed": 3}), ignore)
    common = set(other.val.keys) & set(splits.train.keys)
    assert count_seen(other.val, [training]).get(SplitName.TRAIN, 0) == len(common)


def test_ancestors_are_kept_once_and_the_last_training_apart() -> None:
    first, second = Training({"seed": 1}, {"train": "a"}), Training({"seed": 2}, {"train": "b"})
    assert provenance([]) == {"fingerprints": {}, "data": None}
    assert provenance([first, first, second]) == {**second.to_dict(), "ancestors": [first.to_dict()]}
    assert provenance([second, second])["ancestors"] == []


def test_data_of_another_version_is_told_of() -> None:
    with pytest.raises(CheckpointError, match="data that this version of dsft does not know"):
        Training({"source": "clouds"}, {}).section()


def test_a_run_on_images_that_trained_its_source_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = ["model.name=test_resnet", "schedule.epochs=1", "schedule.warmup_epochs=0", "data.image_size=16"]
    assert dsft("train", "digits_dense", *tiny, "~augment.scale").exit_code == 0
    changes = ["schedule.epochs=1", "data.image_size=16", "schedule.warmup_epochs=0", "~freeze", "data.seed=1"]
    done = dsft("finetune", "quickstart", *changes)
    assert done.exit_code == 2
    assert "images of the test split trained the network that this run starts from" in done.stderr
    assert not (tmp_path / "runs" / "quickstart").exists()
    done = dsft("finetune", "quickstart", *changes, "evaluate.splits=[val]")
    assert done.exit_code == 0, done.stderr
    assert "images of the val split trained the network" in done.stderr
    done = dsft("evaluate", "runs/quickstart", "--split", "test")
    assert "images trained this model, or one that it came from" in done.stderr
