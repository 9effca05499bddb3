"""One suite that every kind of input passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dsft.choices import InputKind
from dsft.data.clip import Clip
from dsft.data.inputs import INPUTS
from dsft.data.sound import Signal
from dsft.preprocessing import (
    ClipPreprocessing,
    InputPreprocessing,
    MelSpectrogram,
    Preprocessing,
    SignalPreprocessing,
    TextPreprocessing,
)
from tests.data.sounds import tone, write_wav

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 16, 3), dtype=np.uint8)
SOUND = np.stack([tone(400), tone(500)])
EXAMPLES: dict[InputKind, list[Any]] = {
    InputKind.IMAGE: [Image.fromarray(PIXELS), Image.fromarray(PIXELS[..., 0])],
    InputKind.SIGNAL: [Signal(SOUND, 8000), Signal(SOUND[:1]), Signal(SOUND[:1, :40], 16000)],
    InputKind.CLIP: [Clip("a", np.stack([PIXELS] * 5)), Clip("b", np.stack([PIXELS[..., 0]] * 3))],
    InputKind.TEXT: ["Not bad!", "not bad"],
}
INPUT: dict[InputKind, InputPreprocessing] = {
    InputKind.IMAGE: Preprocessing((8, 12), 1, (0.5,), (0.5,), "bicubic", 1.0, "center"),
    InputKind.SIGNAL: SignalPreprocessing((500,), 1, (0.0,), (1.0,)),
    InputKind.CLIP: ClipPreprocessing(4, 1, (8, 12), 1, (0.5,), (0.5,)),
    InputKind.TEXT: TextPreprocessing(5, ("bad", "not")),
}
UNPACKED = (InputKind.CLIP, InputKind.TEXT)
CASES = [(kind, example) for kind, examples in EXAMPLES.items() for example in examples]


def test_every_kind_is_registered() -> None:
    assert list(INPUTS) == list(InputKind)


@pytest.mark.parametrize(("kind", "example"), [case for case in CASES if case[0] not in UNPACKED])
def test_what_is_packed_is_restored_exactly(kind: InputKind, example: Any) -> None:
    own = INPUTS[kind]
    packed = own.pack(example)
    assert packed is not None
    assert packed.header[-1] > 0
    assert own.content(own.unpack(packed)) == own.content(example)


@pytest.mark.parametrize(("kind", "example"), CASES)
def test_measures_have_their_names(kind: InputKind, example: Any) -> None:
    found = INPUTS[kind].measure(example)
    assert list(found.sizes) == list(INPUTS[kind].measures.sizes)
    assert list(found.flags) == list(INPUTS[kind].measures.flags)


@pytest.mark.parametrize(("kind", "example"), CASES)
def test_contents_tell_examples_apart(kind: InputKind, example: Any) -> None:
    contents = [INPUTS[kind].content(one) for one in EXAMPLES[kind]]
    assert len(set(contents)) == len(contents)
    assert contents.count(INPUTS[kind].content(example)) == 1


@pytest.mark.parametrize(("kind", "example"), [case for case in CASES if case[0] is not InputKind.TEXT])
def test_a_picture_is_no_larger_than_asked(kind: InputKind, example: Any) -> None:
    picture = INPUTS[kind].picture(example, 12)
    assert picture.dtype == np.uint8
    assert picture.ndim in (2, 3)
    assert max(picture.shape[:2]) <= 12


@pytest.mark.parametrize("kind", InputKind)
def test_the_transform_has_the_shape_of_the_preprocessing(kind: InputKind) -> None:
    transform = INPUTS[kind].evaluation_transform(INPUT[kind])
    for example in EXAMPLES[kind]:
        assert transform(example).shape == INPUT[kind].shape


@pytest.mark.parametrize("kind", InputKind)
def test_inputs_without_an_example_are_like_those_of_one(kind: InputKind) -> None:
    own, expected = INPUTS[kind], INPUT[kind]
    example = own.evaluation_transform(expected)(EXAMPLES[kind][0])
    for found in (own.blank(expected, 3), own.noise(expected, 3)):
        assert (found.shape, found.dtype) == ((3, *expected.shape), example.dtype)
    assert not own.blank(expected, 3).any()
    assert own.noise(expected, 3).double().std() > 0


@pytest.mark.parametrize("kind", [kind for kind in InputKind if kind is not InputKind.TEXT])
def test_the_steps_end_with_the_normalisation(kind: InputKind) -> None:
    steps = INPUTS[kind].describe_steps(INPUT[kind])
    assert steps[0]["op"] == "decode"
    assert {"op": "normalize", "mean": list(INPUT[kind].mean), "std": list(INPUT[kind].std)} in steps


def test_files_are_read_by_their_kind(tmp_path: Path) -> None:
    EXAMPLES[InputKind.IMAGE][0].save(tmp_path / "a.png")
    write_wav(tmp_path / "a.wav", SOUND[0])
    for kind, name in ((InputKind.IMAGE, "a.png"), (InputKind.SIGNAL, "a.wav")):
        assert Path(name).suffix in INPUTS[kind].extensions
        found = INPUTS[kind].read_file(tmp_path / name)
        assert type(found) is type(INPUTS[kind].read_file(tmp_path / name))
        assert INPUTS[kind].count_channels(found) == (3 if kind is InputKind.IMAGE else 1)


class TestSignals:
    own = INPUTS[InputKind.SIGNAL]

    def test_silence_is_found(self) -> None:
        quiet, silent = Signal(SOUND * 1e-3, 8000), Signal(SOUND * 1e-5, 8000)
        constant = Signal(np.full((1, 9), 7, np.float32))
        found = [self.own.measure(signal).flags["silent"] for signal in (quiet, silent, Signal(SOUND), constant)]
        assert found == [False, True, False, True]

    def test_a_spectrogram_is_drawn_with_low_frequencies_at_the_bottom(self) -> None:
        low, high = (self.own.picture(Signal(tone(f)[None], 8000), 128) for f in (300, 3500))
        darkest = [int(picture.mean(1).argmin()) / len(picture) for picture in (low, high)]
        assert darkest[0] > 0.85
        assert darkest[1] < 0.2

    def test_a_waveform_is_drawn_within_its_range(self) -> None:
        ramp = Signal(np.linspace(-1, 1, 400, dtype=np.float32)[None])
        picture = self.own.picture(ramp, 40)
        assert picture.shape == (10, 40)
        heights = [int(column.argmin()) for column in picture.T]
        assert heights == sorted(heights, reverse=True)
        assert (heights[0], heights[-1]) == (9, 0)

    def test_a_volume_is_drawn_by_its_middle(self) -> None:
        volume = np.zeros((1, 3, 4, 5), np.float32)
        volume[0, 1] = np.arange(20).reshape(4, 5)
        picture = self.own.picture(Signal(volume), 16)
        assert picture.shape == (4, 5)
        assert (picture[0, 0], picture[-1, -1]) == (0, 255)

    @pytest.mark.parametrize("spacing", [None, (2.5, 0.7, 1.0)])
    def test_a_volume_is_packed_with_its_spacing(self, spacing: tuple[float, ...] | None) -> None:
        values = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
        packed = self.own.pack(Signal(values, spacing=spacing))
        assert packed is not None
        found = self.own.unpack(packed)
        np.testing.assert_array_equal(found.values, values)
        assert (found.rate, found.spacing) == (None, spacing)


def test_a_mel_spectrogram_has_its_shape() -> None:
    mel = MelSpectrogram(16, 64, 32, 0.0, 4000.0)
    assert SignalPreprocessing((500,), 2, (0.0,) * 2, (1.0,) * 2, 8000, mel).shape == (2, 16, 16)


def test_a_clip_is_drawn_by_four_of_its_frames() -> None:
    frames = np.stack([np.full((6, 8, 3), 10 * number, np.uint8) for number in range(10)])
    picture = INPUTS[InputKind.CLIP].picture(Clip("own", frames), 64)
    assert picture.shape == (13, 17, 3)
    assert [int(picture[row, column, 0]) for row in (0, -1) for column in (0, -1)] == [0, 30, 60, 90]
    assert (picture[6] == picture[0, 8]).all()
