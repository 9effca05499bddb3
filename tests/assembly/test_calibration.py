from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dsft.assembly import open_splits
from dsft.assembly.calibration import BATCH, draw_calibration, open_calibration
from dsft.choices import DataSource, SplitName
from dsft.data.decoding import read_image
from dsft.devices import Compute
from dsft.errors import DataError, RecipeError
from dsft.preprocessing import Preprocessing
from dsft.progress import ignore
from dsft.recipe.sections import DataSection
from tests.workshop import CLASSES, Workshop, write_pictures, write_split_pictures

CPU = Compute(torch.device("cpu"))
INPUT = Preprocessing((24, 24), 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", 1.0, "center")


def pixels(path: Path) -> torch.Tensor:
    image = torch.tensor(list(read_image(path).tobytes()), dtype=torch.float32).reshape(24, 24, 3)
    return (image.permute(2, 0, 1) / 255 - 0.5) / 0.5


def test_images_are_drawn_from_the_training_split_alone(tmp_path: Path) -> None:
    write_split_pictures(tmp_path)
    section = DataSection(source=DataSource.FOLDER, root=str(tmp_path), workers=0)
    splits = open_splits(section, ignore)
    batches = draw_calibration(splits.train, section, INPUT, CPU, 100, 0)
    images = torch.cat(batches)
    assert len(images) == len(splits.train)
    expected = torch.stack([pixels(tmp_path / "train" / key) for key in splits.train.keys])
    torch.testing.assert_close(images, expected)


def test_a_number_of_images_is_drawn_by_seed_in_small_batches(tmp_path: Path) -> None:
    write_pictures(tmp_path, dict.fromkeys(CLASSES, 16))
    first = open_calibration(str(tmp_path), INPUT, CPU, 20, 0, ignore)
    assert [len(batch) for batch in first.batches] == [BATCH, 4]
    again, other = (open_calibration(str(tmp_path), INPUT, CPU, 20, seed, ignore) for seed in (0, 1))
    assert torch.equal(torch.cat(first.batches), torch.cat(again.batches))
    assert not torch.equal(torch.cat(first.batches), torch.cat(other.batches))


def test_what_was_used_is_on_record_as_a_training(tmp_path: Path, workshop: Workshop) -> None:
    named = open_calibration(str(workshop.dense_recipe), INPUT, CPU, 4, 0, ignore)
    assert named.training is not None
    assert named.training.section().root == workshop.pictures.as_posix()
    assert SplitName.TRAIN.value in named.training.fingerprints
    write_pictures(tmp_path, {"": 3})
    loose = open_calibration(str(tmp_path), INPUT, CPU, 8, 0, ignore)
    assert sum(map(len, loose.batches)) == 3
    assert loose.trainings == ()


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder with images is needed, found none"):
        open_calibration(str(tmp_path), INPUT, CPU, 8, 0, ignore)


def test_a_place_that_is_not_there_may_have_been_meant_as_either(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(RecipeError, match=r"^calibration: a folder of images or a recipe .* and no recipe '.*nowhere'"):
        open_calibration(str(nowhere), INPUT, CPU, 8, 0, ignore)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("version: 1\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"^(?!calibration)"):
        open_calibration(str(wrong), INPUT, CPU, 8, 0, ignore)
