from __future__ import annotations

from pathlib import Path

import torch

from dsft.assembly import open_splits
from dsft.assembly.calibration import BATCH, draw_calibration
from dsft.choices import DataSource
from dsft.data.decoding import read_image
from dsft.devices import Compute
from dsft.preprocessing import Preprocessing
from dsft.progress import ignore
from dsft.recipe.sections import DataSection
from tests.workshop import CLASSES, write_pictures, write_split_pictures

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
    section = DataSection(source=DataSource.FOLDER, root=str(tmp_path), workers=0)
    train = open_splits(section, ignore).train

    def draw(seed: int) -> tuple[torch.Tensor, ...]:
        return draw_calibration(train, section, INPUT, CPU, 20, seed)

    first = draw(0)
    assert [len(batch) for batch in first] == [BATCH, 4]
    assert torch.equal(torch.cat(first), torch.cat(draw(0)))
    assert not torch.equal(torch.cat(first), torch.cat(draw(1)))
