from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models.video import R3D_18_Weights

from dsft.data.clip import Clip
from dsft.data.clip_transforms import ClipAugmentation, ClipTransform, frame_positions
from dsft.data.seeding import seeded
from dsft.errors import DataError
from dsft.models.torchvision_library import preprocessing
from dsft.preprocessing import ClipPreprocessing, read_preprocessing

PLAIN = ClipPreprocessing(4, 1, (16, 16), 3, (0.0,) * 3, (1.0,) * 3)


def noise(frames: int, height: int, width: int, channels: int = 3, seed: int = 0) -> Clip:
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, height, width, channels), dtype=np.uint8)
    return Clip("noise", pixels)


@pytest.mark.parametrize(
    ("length", "stride", "expected"),
    [(4, 1, [0, 1, 2, 3]), (11, 1, [3, 4, 5, 6]), (11, 3, [0, 3, 6, 9]), (5, 2, [0, 2, 4, 4]), (1, 2, [0] * 4)],
)
def test_evaluation_takes_the_middle_and_repeats_the_last_frame(length: int, stride: int, expected: list[int]) -> None:
    assert frame_positions(length, dataclasses.replace(PLAIN, stride=stride)) == expected


def test_training_takes_every_possible_clip_and_no_other() -> None:
    with seeded(1):
        found = {tuple(frame_positions(12, dataclasses.replace(PLAIN, stride=2), is_random=True)) for _ in range(200)}
    assert found == {tuple(range(start, start + 7, 2)) for start in range(6)}


@pytest.mark.parametrize("shape", [(16, 16), (20, 30), (40, 17), (8, 12)])
def test_a_frame_is_resized_as_pillow_does_and_cropped_around_its_centre(shape: tuple[int, int]) -> None:
    clip, (height, width) = noise(4, *shape), shape
    factor = 16 / min(shape)
    resized = (max(round(width * factor), 16), max(round(height * factor), 16))
    found = ClipTransform(PLAIN)(clip)
    assert found.shape == (3, 4, 16, 16)
    for number, frame in enumerate(clip.read(range(4))):
        image = np.asarray(Image.fromarray(frame).resize(resized, Image.Resampling.BILINEAR), np.float32)
        top, left = round((resized[1] - 16) / 2), round((resized[0] - 16) / 2)
        expected = image[top : top + 16, left : left + 16].transpose(2, 0, 1) / 255
        # torchvision rounds a row of pixels and then a column, as Pillow does, with other intermediate digits.
        np.testing.assert_allclose(found[:, number], expected, atol=1.01 / 255)


def test_torchvisions_clips_have_torchvisions_transform() -> None:
    ours, preset = preprocessing("r3d_18"), R3D_18_Weights.DEFAULT.transforms()
    assert isinstance(ours, ClipPreprocessing)
    clip = noise(16, 128, 171)  # the size that torchvision resizes to, which both keep
    frames = torch.from_numpy(clip.read(range(16))).permute(0, 3, 1, 2)
    torch.testing.assert_close(ClipTransform(ours)(clip), preset(frames), atol=1e-5, rtol=1e-5)


def test_all_frames_are_augmented_in_the_same_way() -> None:
    frame = noise(1, 24, 24).read([0])
    still = Clip("still", np.repeat(frame, 9, axis=0))
    with seeded(3):
        found = ClipTransform(PLAIN, ClipAugmentation((0.3, 0.6), 0.5, 0.4))(still)
    assert all(torch.equal(found[:, 0], found[:, number]) for number in range(1, 4))
    assert not torch.equal(found, ClipTransform(PLAIN)(still))


def test_a_flip_mirrors_every_frame() -> None:
    clip = noise(4, 16, 16)
    flipped = ClipTransform(PLAIN, ClipAugmentation(hflip=1.0))(clip)
    assert torch.equal(flipped, ClipTransform(PLAIN)(clip).flip(-1))


def test_the_augmentation_depends_on_the_seed_alone() -> None:
    transform, clip = ClipTransform(PLAIN, ClipAugmentation((0.3, 1.0), 0.5)), noise(30, 20, 20)
    results = []
    for seed in (5, 5, 6):
        with seeded(seed):
            results.append(transform(clip))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_channels_are_those_of_the_network() -> None:
    grey = ClipTransform(PLAIN)(noise(4, 16, 16, 1))
    assert torch.equal(grey[0], grey[2])
    one = dataclasses.replace(PLAIN, channels=1, mean=(0.5,), std=(0.25,))
    colours = noise(4, 16, 16)
    luminance = colours.read(range(4)).astype(float) @ np.array([0.2989, 0.587, 0.114])
    expected = (np.floor(luminance) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(ClipTransform(one)(colours)[0], expected, atol=1.01 / 255 / 0.25)
    with pytest.raises(DataError, match="1 or 3 channels"):
        ClipTransform(dataclasses.replace(PLAIN, channels=2))(colours)


def test_the_preprocessing_is_restored_from_json() -> None:
    given = dataclasses.replace(PLAIN, stride=3, crop_pct=0.875)
    assert read_preprocessing(given.to_dict()) == given
