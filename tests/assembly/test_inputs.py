from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dsft.assembly import open_splits
from dsft.assembly.data import evaluation_transform_of, training_transform_of
from dsft.assembly.inputs import as_images, augmenting_transform, data_input
from dsft.assembly.signal_inputs import SignalData
from dsft.choices import DataSource
from dsft.data import JointTransform, LoaderSettings, Split, make_loader
from dsft.data.signal_transforms import SignalTransform, resample_volume
from dsft.errors import DataError, ModelError, RecipeError
from dsft.preprocessing import MelSpectrogram, SignalPreprocessing
from dsft.progress import ignore
from dsft.recipe.sections import AugmentSection, DataSection, SignalSection, SpectrogramSection
from tests.data.pictures import model_input
from tests.data.sounds import tone, write_tones, write_wav
from tests.data.volumes import CLASSES, write_masked_scans

MEL = SpectrogramSection(bands=16, window=256, hop=64)


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Split:
    root = write_tones(tmp_path_factory.mktemp("tones"), {"high": 900.0, "low": 300.0}, 12)
    return open_splits(DataSection(source=DataSource.AUDIO, root=str(root)), ignore).train


def test_the_input_is_that_of_the_training_signals(train: Split) -> None:
    found = SignalData(SignalSection(), train).fit(None)
    signals = [train.source.read(index) for index in train.indices]
    assert (found.rate, found.channels) == (8000, 1)
    assert found.length == (max(signal.values.shape[1] for signal in signals),)
    plain = found.replace(mean=(0.0,), std=(1.0,))
    values = torch.stack([SignalTransform(plain)(signal) for signal in signals]).double().numpy()
    np.testing.assert_allclose([*found.mean, *found.std], [values.mean(), values.std()], rtol=1e-6)


def test_the_recipe_states_rate_length_and_spectrogram(train: Split) -> None:
    found = SignalData(SignalSection(rate=4000, length=2000, spectrogram=MEL), train).fit(3)
    assert (found.rate, found.length, found.shape) == (4000, (2000,), (3, 16, 32))
    assert found.spectrogram == MelSpectrogram(16, 256, 64, 0.0, 2000.0)
    assert len(set(found.mean)) == len(set(found.std)) == 1
    inputs = torch.stack([SignalTransform(found)(train.source.read(index)) for index in train.indices])
    assert abs(float(inputs.mean())) < 1e-4
    assert abs(float(inputs.std()) - 1) < 1e-3


def test_channels_are_normalised_one_by_one(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal([[[5.0], [-3.0]]], [[[2.0], [0.5]]], (40, 2, 30))
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(40) % 2)
    split = open_splits(DataSection(source=DataSource.ARRAYS, root=str(tmp_path / "a.npz")), ignore).train
    found = SignalData(SignalSection(), split).fit(None)
    assert (found.rate, found.length, found.channels) == (None, (30,), 2)
    np.testing.assert_allclose(found.mean, (5, -3), atol=0.2)
    np.testing.assert_allclose(found.std, (2, 0.5), atol=0.1)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"spectrogram": SpectrogramSection(window=8192)}, r"longer than half a window, found 2000 samples"),
        ({"spectrogram": SpectrogramSection(high=5000)}, r"half of the rate, 4000 Hz, found 0 to 5000"),
    ],
)
def test_a_spectrogram_fits_the_signals(train: Split, section: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        SignalData(SignalSection(length=2000, **section), train).fit(1)


@pytest.mark.parametrize(
    ("section", "message"),
    [({"rate": 8000}, "have no rate"), ({"spectrogram": MEL}, "needs signals with a rate")],
)
def test_arrays_without_a_rate_have_no_spectrogram(tmp_path: Path, section: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).normal(size=(40, 1, 500)), y=np.arange(40) % 2)
    split = open_splits(DataSection(source=DataSource.ARRAYS, root=str(tmp_path / "a.npz")), ignore).train
    with pytest.raises(RecipeError, match=message):
        SignalData(SignalSection(**section), split).fit(1)


class TestAdapt:
    known = SignalPreprocessing((2000,), 1, (0.1,), (0.2,), 8000)

    def test_keeps_what_the_weights_are_for(self, train: Split) -> None:
        assert SignalData(SignalSection(), train).adapt(self.known, "m") == self.known
        assert SignalData(SignalSection(rate=8000), train).adapt(self.known, "m") == self.known

    def test_changes_the_length(self, train: Split) -> None:
        longer = SignalData(SignalSection(length=3000), train).adapt(self.known, "m")
        assert longer == self.known.replace(length=(3000,))

    @pytest.mark.parametrize("section", [{"rate": 4000}, {"spectrogram": MEL}])
    def test_changes_nothing_else(self, train: Split, section: dict[str, Any]) -> None:
        with pytest.raises(RecipeError, match=r"data\.signal\.(rate|spectrogram): the weights of m are for"):
            SignalData(SignalSection(**section), train).adapt(self.known, "m")

    def test_needs_a_network_of_signals(self, train: Split) -> None:
        with pytest.raises(ModelError, match="takes images, and the data are signals"):
            SignalData(SignalSection(), train).adapt(model_input(), "m")


class TestMaskedVolumes:
    @pytest.fixture(scope="class")
    @staticmethod
    def section(tmp_path_factory: pytest.TempPathFactory) -> DataSection:
        pytest.importorskip("nibabel")
        root = tmp_path_factory.mktemp("scans")
        write_masked_scans(root, 8)
        signal = SignalSection(length=[4, 5, 6])
        return DataSection(
            source=DataSource.VOLUMES, root=str(root), class_names=list(CLASSES), signal=signal, batch_size=3, workers=0
        )

    def test_run_in_windows_unless_weights_or_the_recipe_say_otherwise(self, section: DataSection) -> None:
        train = open_splits(section, ignore).train
        assert SignalData(SignalSection(), train).fit(None).window_overlap == 0.25
        known = SignalPreprocessing((4, 5, 6), 1, (0.1,), (0.2,))
        assert SignalData(SignalSection(), train).adapt(known, "m") == known.replace(window_overlap=0.25)
        known = known.replace(window_overlap=0.5)
        assert SignalData(SignalSection(), train).adapt(known, "m") == known

    def test_mean_and_deviation_are_those_of_whole_volumes(
        self, section: DataSection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        train = open_splits(section, ignore).train
        found = SignalData(SignalSection(length=[4, 5, 6], spacing=[1, 1, 1]), train).fit(None)
        values = []
        for index in train.indices:
            signal = train.source.read(index)
            values.append(resample_volume(signal.values, signal.spacing, (1, 1, 1)).ravel())
        together = np.concatenate(values).astype(float)
        np.testing.assert_allclose([*found.mean, *found.std], [together.mean(), together.std()], rtol=1e-5)
        # Of large volumes a few are enough.
        monkeypatch.setattr("dsft.assembly.signal_inputs._LEAST_SAMPLE", 2)
        monkeypatch.setattr("dsft.assembly.signal_inputs._SAMPLED_VALUES", 3 * 12 * 10 * 11)
        few = SignalData(SignalSection(length=[4, 5, 6], spacing=[1, 1, 1]), train).fit(None)
        chosen = [values[int(at * len(train) / 3)] for at in range(3)]
        np.testing.assert_allclose(few.mean, np.concatenate(chosen).mean(), rtol=1e-5)

    def test_patches_depend_on_seed_epoch_and_volume_alone(self, section: DataSection) -> None:
        splits = open_splits(section, ignore)
        own = SignalData(section.signal or SignalSection(), splits.train).fit(None)

        def patches(epoch: int, seed: int = 0, workers: int = 0) -> dict[int, bytes]:
            transform = training_transform_of(splits.train, section, AugmentSection(hflip=0.5), own)
            loader = make_loader(splits.train, transform, LoaderSettings(3, workers, seed), shuffle=True)
            batches = list(loader.epoch(epoch))
            assert all(batch.images.shape[1:] == (1, 4, 5, 6) == (1, *batch.targets.shape[1:]) for batch in batches)
            rows = [row for b in batches for row in zip(b.positions.tolist(), b.images, b.targets, strict=True)]
            return {position: image.numpy().tobytes() + mask.numpy().tobytes() for position, image, mask in rows}

        first = patches(1)
        assert first == patches(1) == patches(1, workers=1)
        for other in (patches(2), patches(1, seed=1)):
            assert other.keys() == first.keys()
            assert sum(other[position] == first[position] for position in first) <= 1

    def test_evaluation_takes_whole_volumes_and_calibration_their_centre(self, section: DataSection) -> None:
        train = open_splits(section, ignore).train
        own = SignalData(section.signal or SignalSection(), train).fit(None)
        signal, target = train.source.read(0), train.read_target(0)
        for full_size, size in ((True, (12, 10, 11)), (False, (4, 5, 6))):
            transform = evaluation_transform_of(train, section, own, full_size=full_size)
            assert isinstance(transform, JointTransform)
            image, mask = transform(signal, target, "a")  # type: ignore[arg-type]
            assert (image.shape[1:], mask.shape) == (size, size)

    def test_a_flip_needs_two_axes(self, train: Split) -> None:
        own = SignalData(SignalSection(), train).fit(None)
        with pytest.raises(RecipeError, match=r"augment\.hflip: needs signals with at least two axes"):
            augmenting_transform(AugmentSection(hflip=0.5), own)


def test_images_determine_no_input() -> None:
    section = DataSection(source=DataSource.DIGITS)
    digits = open_splits(section, ignore).train
    assert data_input(section, digits) is None
    with pytest.raises(DataError, match="'digits' has images, and the network takes signals"):
        evaluation_transform_of(digits, section, TestAdapt.known, full_size=False)


def test_a_task_with_pictures_needs_images() -> None:
    assert as_images(model_input()) == model_input()
    with pytest.raises(ModelError, match="takes images, found one that takes signals"):
        as_images(TestAdapt.known)


def test_the_most_common_rate_is_taken(tmp_path: Path) -> None:
    for number in range(20):
        rate = 8000 if number % 4 else 16000
        write_wav(tmp_path / "ab"[number % 2] / f"{number}.wav", tone(300, rate // 2, rate), rate)
    split = open_splits(DataSection(source=DataSource.AUDIO, root=str(tmp_path)), ignore).train
    found = SignalData(SignalSection(), split).fit(None)
    assert (found.rate, found.length) == (8000, (4000,))
