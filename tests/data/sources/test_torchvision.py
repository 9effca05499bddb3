from __future__ import annotations

import bz2
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io  # type: ignore[import-untyped]
from PIL import Image
from torchvision import datasets

from dsft.choices import SplitName
from dsft.data import open_torchvision
from dsft.data.labels import single_classes
from dsft.data.sources.torchvision import TABLE
from dsft.errors import DataError
from dsft.progress import Event, Note

RANDOM = np.random.default_rng(0)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(path)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def idx(path: Path, values: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """Write LeCun's IDX format: zero, zero, type 8 (uint8), dimensions, sizes, values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = np.array(values.shape, dtype=">u4").tobytes()
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes())


def mnist(root: Path) -> None:
    for part in ("train", "t10k"):
        raw = root / "MNIST" / "raw"
        idx(raw / f"{part}-images-idx3-ubyte", RANDOM.integers(0, 256, (7, 28, 28), dtype=np.uint8))
        idx(raw / f"{part}-labels-idx1-ubyte", np.array([3, 1, 4, 1, 5, 9, 2], dtype=np.uint8))


def emnist(root: Path) -> None:
    for part in ("train", "test"):
        raw = root / "EMNIST" / "raw"
        idx(raw / f"emnist-balanced-{part}-images-idx3-ubyte", RANDOM.integers(0, 256, (3, 28, 28), dtype=np.uint8))
        idx(raw / f"emnist-balanced-{part}-labels-idx1-ubyte", np.array([0, 46, 20], dtype=np.uint8))


def usps(root: Path) -> None:
    for name in ("usps.bz2", "usps.t.bz2"):
        rows = [" ".join([str(label), *(f"{i}:{RANDOM.uniform(-1, 1):.3f}" for i in range(256))]) for label in (1, 10)]
        root.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bz2.compress("\n".join(rows).encode()))


def cifar10(root: Path) -> None:
    # The batches are pickles: that is the data set's own format, which torchvision reads.
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        pixels = RANDOM.integers(0, 256, (2, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": [9, 0]}))
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))


def svhn(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        pixels = RANDOM.integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
        scipy.io.savemat(root / f"{part}_32x32.mat", {"X": pixels, "y": np.array([[1], [10], [9], [2]])})


def stl10(root: Path) -> None:
    folder = root / "stl10_binary"
    text(folder / "class_names.txt", *(f"class {number}" for number in range(10)))
    for part in ("train", "test"):
        (folder / f"{part}_X.bin").write_bytes(RANDOM.integers(0, 256, 2 * 3 * 96 * 96, dtype=np.uint8).tobytes())
        (folder / f"{part}_y.bin").write_bytes(bytes([10, 1]))
    text(folder / "fold_indices.txt", "0 1")


def eurosat(root: Path) -> None:
    for name in ("Forest_1", "River_1", "Forest_2"):
        picture(root / "eurosat" / "2750" / name.split("_")[0] / f"{name}.jpg")


def country211(root: Path) -> None:
    for part in ("train", "valid", "test"):
        for name in ("AD/1", "ZW/2"):
            picture(root / "country211" / part / f"{name}.jpg")


def sun397(root: Path) -> None:
    text(root / "SUN397" / "ClassName.txt", "/a/abbey", "/b/bow_window/indoor")
    for name in ("b/bow_window/indoor/sun_b", "a/abbey/sun_z", "a/abbey/sun_a"):
        picture(root / "SUN397" / f"{name}.jpg")


def dtd(root: Path) -> None:
    for part in ("train", "val", "test"):
        names = [f"banded/{part}_1.jpg", f"dotted/{part}_2.jpg", f"banded/{part}_3.jpg"]
        text(root / "dtd" / "dtd" / "labels" / f"{part}1.txt", *names)
        for name in names:
            picture(root / "dtd" / "dtd" / "images" / name)


def pets(root: Path) -> None:
    folder = root / "oxford-iiit-pet"
    for part in ("trainval", "test"):
        lines = [f"Abyssinian_{part} 1 1 1", f"great_dane_{part} 2 2 1"]
        text(folder / "annotations" / f"{part}.txt", *lines)
        for line in lines:
            picture(folder / "images" / f"{line.split()[0]}.jpg")


def food101(root: Path) -> None:
    folder = root / "food-101"
    for part in ("train", "test"):
        names = {"waffles": [f"waffles/{part}1"], "apple_pie": [f"apple_pie/{part}1", f"apple_pie/{part}0"]}
        text(folder / "meta" / f"{part}.json", json.dumps(names))
        for name in sum(names.values(), []):  # noqa: RUF017 - three names
            picture(folder / "images" / f"{name}.jpg")


def aircraft(root: Path) -> None:
    folder = root / "fgvc-aircraft-2013b" / "data"
    text(folder / "variants.txt", "707-320", "A300 B4")
    for part in ("train", "val", "test"):
        text(folder / f"images_variant_{part}.txt", f"{part}2 A300 B4", f"{part}1 707-320")
        for number in (1, 2):
            picture(folder / "images" / f"{part}{number}.jpg")


def gtsrb(root: Path) -> None:
    for number in range(2):
        picture(root / "gtsrb" / "GTSRB" / "Training" / f"{number:05d}" / "1.ppm")
        picture(root / "gtsrb" / "GTSRB" / "Final_Test" / "Images" / f"{number}.ppm")
    text(root / "gtsrb" / "GT-final_test.csv", "Filename;ClassId", "1.ppm;42", "0.ppm;0")


def rendered_sst2(root: Path) -> None:
    for part in ("train", "valid", "test"):
        for label in ("negative", "positive"):
            picture(root / "rendered-sst2" / part / label / "1.png")


def imagenette(root: Path) -> None:
    for part in ("train", "val"):
        for name in datasets.Imagenette._WNID_TO_CLASS:
            picture(root / "imagenette2" / part / name / "1.jpeg")


def flowers(root: Path) -> None:
    folder = root / "flowers-102"
    for number in range(1, 7):
        picture(folder / "jpg" / f"image_{number:05d}.jpg")
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": np.array([[1, 102, 5, 7, 5, 102]])})
    parts = {"trnid": [[2, 1]], "valid": [[3, 4]], "tstid": [[6, 5]]}
    scipy.io.savemat(folder / "setid.mat", {key: np.array(value) for key, value in parts.items()})


WRITERS: dict[str, Callable[[Path], None]] = {
    "CIFAR10": cifar10,
    "Country211": country211,
    "DTD": dtd,
    "EMNIST": emnist,
    "EuroSAT": eurosat,
    "FGVCAircraft": aircraft,
    "Flowers102": flowers,
    "Food101": food101,
    "GTSRB": gtsrb,
    "Imagenette": imagenette,
    "MNIST": mnist,
    "OxfordIIITPet": pets,
    "RenderedSST2": rendered_sst2,
    "STL10": stl10,
    "SUN397": sun397,
    "SVHN": svhn,
    "USPS": usps,
}


def trust_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision take files in the right format that are not the originals."""
    for module in (datasets.cifar, datasets.svhn, datasets.stl10, datasets.flowers102):
        monkeypatch.setattr(module, "check_integrity", lambda *_: True)


@pytest.mark.parametrize("name", WRITERS)
def test_images_and_classes_are_those_that_torchvision_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    trust_checksums(monkeypatch)
    WRITERS[name](tmp_path)
    sources = open_torchvision(name, tmp_path, download=False)
    assert list(sources) == list(TABLE[name].splits)
    for split, source in sources.items():
        theirs = getattr(datasets, name)(tmp_path, download=False, **TABLE[name].splits[split])
        expected = sorted((np.asarray(image.convert("RGB")).tobytes(), target) for image, target in theirs)
        found = [
            (np.asarray(source.read(index).convert("RGB")).tobytes(), target)
            for index, target in enumerate(source.targets)
        ]
        assert sorted(found) == expected
        assert len(set(source.keys)) == len(source.keys) == len(expected)
        assert list(source.keys) == sorted(source.keys)
        assert max(single_classes(source.targets)) < len(source.classes) == len(set(source.classes))
        assert all(isinstance(label, str) for label in source.classes)


def test_class_names_are_the_data_sets_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust_checksums(monkeypatch)
    expected = {"MNIST": "3 - three", "Imagenette": "tench", "SVHN": "1", "USPS": "0", "GTSRB": "0", "CIFAR10": "truck"}
    for name, label in expected.items():
        WRITERS[name](tmp_path)
        source = open_torchvision(name, tmp_path, download=False)[SplitName.TRAIN]
        assert source.classes[single_classes(source.targets)[0]] == label, name


@pytest.mark.parametrize("name", TABLE)
def test_a_missing_data_set_is_an_error_that_names_the_download(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        DataError, match=rf"data\.name {name}: the files in .* missing or damaged .*data\.download=true"
    ) as caught:
        open_torchvision(name, tmp_path, download=False)
    # Any other cause would mean that the table's arguments are wrong.
    assert isinstance(caught.value.__cause__, (RuntimeError, FileNotFoundError))
    assert "not found" in str(caught.value).lower() or "No such file" in str(caught.value)


def test_an_unknown_name_is_an_error_with_the_nearest_and_case_does_not_matter(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"unknown torchvision data set 'CIFAR-10'\. Did you mean CIFAR10.*source=folder"
    ):
        open_torchvision("CIFAR-10", tmp_path, download=False)
    mnist(tmp_path)
    assert len(open_torchvision("mnist", tmp_path, download=False)) == 2


def test_a_download_without_a_network_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")  # the discard port: nothing listens
    monkeypatch.delenv("no_proxy", raising=False)
    events: list[Event] = []
    with pytest.raises(DataError, match=r"data\.name EuroSAT: could not be downloaded.*data\.download=false"):
        open_torchvision("EuroSAT", tmp_path, download=True, report=events.append)
    assert events == [Note(f"data: torchvision downloads missing files of EuroSAT to {str(tmp_path)!r}")]
