from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from dsft.artifact import Provenance
from dsft.assembly import open_splits
from dsft.assembly.held_out import Training, count_seen, provenance, record_training
from dsft.choices import DataSource, SplitName
from dsft.errors import CheckpointError
from dsft.progress import ignore
from dsft.recipe.sections import DataSection
from tests.workshop import Workshop, dsft

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


def write_shades(root: Path, **shades: Sequence[int]) -> DataSection:
    """Write pictures that are numbered from 0 in each folder, and of one size, as files without compression are."""
    for split, values in shades.items():
        for number, shade in enumerate(values):
            path = root / split / "ab"[number % 2] / f"{number}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), shade).save(path)
    return DataSection(source=DataSource.FOLDER, root=str(root))


def test_files_of_one_name_and_size_are_told_apart_by_their_pixels(tmp_path: Path) -> None:
    section = write_shades(tmp_path, train=range(8), val=range(10, 14), test=[12, 20, 21, 22])
    splits = open_splits(section, ignore)
    training = record_training(section, splits)
    # Only one image is the same under the same name; the splits as a whole have one fingerprint.
    (tmp_path / "test" / "a" / "0.bmp").write_bytes((tmp_path / "val" / "a" / "0.bmp").read_bytes())
    test = open_splits(section, ignore).get(SplitName.TEST)
    assert test.fingerprint == splits.val.fingerprint
    assert count_seen(test, [training]) == {SplitName.VAL: 1}


def test_of_one_place_the_name_is_enough(tmp_path: Path) -> None:
    section = write_shades(tmp_path / "data", a=range(6), b=range(10, 16))
    training = record_training(section, splits := open_splits(section, ignore))
    (tmp_path / "link").symlink_to(tmp_path / "data")
    other = open_splits(section.model_copy(update={"root": str(tmp_path / "link"), "seed": 3}), ignore)
    common = set(other.get(SplitName.TEST).keys) & set(splits.train.keys)
    assert common
    # Nothing can be read, and need be.
    for path in (tmp_path / "data").rglob("*.bmp"):
        path.write_bytes(bytes(path.stat().st_size))
    assert count_seen(other.get(SplitName.TEST), [training])[SplitName.TRAIN] == len(common)


def test_ancestors_are_kept_once_and_the_last_training_apart() -> None:
    first, second = Training({"seed": 1}, {"train": "a"}), Training({"seed": 2}, {"train": "b"})
    assert provenance([]) == Provenance()
    assert provenance([first, first, second]) == Provenance(second.fingerprints, second.data, (first.to_dict(),))
    assert provenance([second, second]).ancestors == ()


def test_changed_data_is_reported() -> None:
    with pytest.raises(CheckpointError, match="data that this version of dsft does not know"):
        Training({"source": "clouds"}, {}).section()


def test_published_data_has_no_folder() -> None:
    with pytest.raises(CheckpointError, match=r"does not say where its data is, .*--data RECIPE\|FOLDER"):
        Training({"source": "folder", "root": None}, {}).section()


@pytest.mark.slow  # tests of experiments and of evaluate check either refusal
def test_a_run_on_images_that_trained_its_source_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = ["model.name=test_resnet", "schedule.epochs=1", "schedule.warmup_epochs=0", "data.image_size=16"]
    assert dsft("train", "digits_dense", *tiny, "~augment.scale").exit_code == 0
    changes = ["schedule.epochs=1", "data.image_size=16", "schedule.warmup_epochs=0", "~freeze", "data.seed=1"]
    done = dsft("finetune", "quickstart", *changes)
    assert done.exit_code == 2
    assert "images of the test split trained or calibrated the network that this run starts from" in done.stderr
    assert not (tmp_path / "runs" / "quickstart").exists()
    done = dsft("finetune", "quickstart", *changes, "evaluate.splits=[val]")
    assert done.exit_code == 0, done.stderr
    assert "images of the val split trained or calibrated the network" in done.stderr
    done = dsft("evaluate", "runs/quickstart", "--split", "test")
    assert "images trained or calibrated this model, or one that it was made from" in done.stderr


def test_of_data_that_grew_a_run_knows_its_images(workshop: Workshop, tmp_path: Path) -> None:
    pictures = Path(shutil.copytree(workshop.pictures, tmp_path / "pictures"))
    recipe = tmp_path / "dense.yaml"
    shutil.copy(workshop.dense_recipe, recipe)
    changes = [f"data.root={pictures.as_posix()}", "schedule.epochs=1", f"output.dir={tmp_path.as_posix()}/run"]
    assert dsft("train", recipe, *changes).exit_code == 0
    splits = json.loads((tmp_path / "run" / "splits.json").read_text(encoding="utf-8"))["splits"]
    shutil.copy(pictures / "ant" / "000.png", pictures / "bee" / "new.png")
    known = len(splits["train"]["keys"])
    done = dsft("evaluate", tmp_path / "run", "--data", pictures, "--no-time")
    assert f"{known} of these 49 images trained or calibrated this model" in " ".join(done.stderr.split())
    # Of a model folder alone only the fingerprint is known.
    shutil.copytree(tmp_path / "run" / "model", tmp_path / "alone" / "model")
    assert "calibrated this model" not in dsft("evaluate", tmp_path / "alone", "--data", pictures, "--no-time").stderr
    # Keys of another run say nothing.
    other = {"splits": {"train": {"fingerprint": "other", "keys": splits["train"]["keys"]}}}
    for text in (json.dumps(other), "{}", "no JSON"):
        (tmp_path / "alone" / "splits.json").write_text(text, encoding="utf-8")
        done = dsft("evaluate", tmp_path / "alone", "--data", pictures, "--no-time")
        assert "calibrated this model" not in done.stderr
        assert done.exit_code == 0
