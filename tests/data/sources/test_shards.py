from __future__ import annotations

import gc
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dsft.choices import SplitName
from dsft.data.labels import single_classes
from dsft.data.sources import open_wds
from dsft.errors import DataError

webdataset: Any = pytest.importorskip("webdataset")

# webdataset leaves the shards that it has read to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
TRAIN, VAL, TEST = SplitName.TRAIN, SplitName.VAL, SplitName.TEST


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def write_shards(pattern: Path, labels: list[int], *, at_most: int = 3) -> None:
    with webdataset.ShardWriter(str(pattern), maxcount=at_most, verbose=0) as writer:
        for number, label in enumerate(labels):
            writer.write({"__key__": f"set/sample{number:04d}", "png": picture(10 * number), "cls": label})


def write_tar(file: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def test_samples_are_those_that_webdataset_reads(tmp_path: Path) -> None:
    labels = [10, 9, 0, 9, 10, 0, 9]
    write_shards(tmp_path / "part-%04d.tar", labels)
    sources = open_wds(tmp_path)
    assert list(sources) == [TRAIN]
    source = sources[TRAIN]
    assert source.classes == ("0", "9", "10")
    shards = sorted(map(str, tmp_path.glob("*.tar")))
    assert len(shards) == 3
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("png", "cls"))
    assert (
        [int(source.classes[target]) for target in single_classes(source.targets)]
        == [label for _, label in samples]
        == labels
    )
    gc.collect()
    for index, (image, _) in enumerate(samples):
        assert np.array_equal(np.asarray(source.read(index)), np.asarray(image))
    assert source.keys[3] == "part-0001.tar/set/sample0003.png"
    assert source.identity(3) == str(len(picture(30)))


def test_shards_are_named_after_their_splits(tmp_path: Path) -> None:
    (tmp_path / "validation").mkdir()
    write_shards(tmp_path / "train-%04d.tar", [0, 1, 0, 1])
    write_shards(tmp_path / "validation" / "%04d.tar", [1, 0])
    write_shards(tmp_path / "test_%04d.tar", [1])
    assert {name: len(source.targets) for name, source in open_wds(tmp_path).items()} == {TEST: 1, TRAIN: 4, VAL: 2}


def test_the_split_may_be_anywhere_in_the_name(tmp_path: Path) -> None:
    write_shards(tmp_path / "imagenet1k-train-%04d.tar", [0, 1, 0])
    write_shards(tmp_path / "imagenet1k-validation-%02d.tar", [1])
    (tmp_path / "train-and-more").mkdir()
    write_shards(tmp_path / "train-and-more" / "cifar10-test-%d.tar", [1, 0])
    assert {name: len(source.targets) for name, source in open_wds(tmp_path).items()} == {TEST: 2, TRAIN: 3, VAL: 1}


@pytest.mark.parametrize("about", [{"width": 500}, {"label": "another"}])
def test_json_beside_a_class_of_its_own_describes_the_image(tmp_path: Path, about: dict[str, Any]) -> None:
    write_tar(tmp_path / "a.tar", {"1.cls": b"cat", "1.jpg": picture(1), "1.json": json.dumps(about).encode()})
    assert open_wds(tmp_path)[TRAIN].classes == ("cat",)


def test_a_class_may_be_in_json(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for number, values in enumerate([{"label": "cat"}, {"cls": 7, "x": 1}, {"class": "dog"}]):
        members |= {
            f"{number}.json": json.dumps(values).encode(),
            f"{number}.jpg": picture(number),
            f"{number}.txt": b"!",
        }
    write_tar(tmp_path / "a.tar", members)
    source = open_wds(tmp_path)[TRAIN]
    assert [source.classes[target] for target in single_classes(source.targets)] == ["cat", "7", "dog"]


def test_a_damaged_image_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"x.png": b"no image", "x.cls": b"0"})
    with pytest.raises(DataError, match=r"'a\.tar/x\.png' cannot be read as an image"):
        open_wds(tmp_path)[TRAIN].read(0)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"x.png": b""}, r"'x' has an image but no class\. Add \.cls or \.json"),
        ({"x.png": b"", "x.seg.png": b"", "x.cls": b"0"}, "'x' must have one image, found two"),
        (
            {"x.png": b"", "x.json": b"{}"},
            r"'a\.tar/x\.json': must contain JSON with one class as label or cls or class",
        ),
        ({"x.png": b"", "x.json": b'{"label": null}'}, "must contain JSON with one class as label or cls or class"),
        ({"x.png": b"", "x.json": b'{"label": [1, 2]}'}, "must contain JSON with one class"),
        ({"x.png": b"", "x.json": b'{"label": true}'}, "must contain JSON with one class"),
        ({"x.png": b"", "x.json": b"[1]"}, "must contain JSON with one class"),
        ({"x.png": b"", "x.cls": b"\xff"}, "must contain a class in UTF-8"),
        ({"x.png": b"", "x.cls": b" "}, "must contain a class in UTF-8"),
    ],
)
def test_a_sample_is_an_image_and_a_class(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    write_tar(tmp_path / "a.tar", members)
    with pytest.raises(DataError, match=message):
        open_wds(tmp_path)


def test_missing_damaged_and_inconsistently_named_shards_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must contain uncompressed shards"):
        open_wds(tmp_path)
    (tmp_path / "val-0.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(DataError, match="some must be train; found only val"):
        open_wds(tmp_path)
    (tmp_path / "val-0.tar").rename(tmp_path / "train-0.tar")
    with pytest.raises(DataError, match=r"train-0\.tar' cannot be read as a tar file"):
        open_wds(tmp_path)
    write_tar(tmp_path / "more.tar", {})
    with pytest.raises(DataError, match=r"more\.tar' without one"):
        open_wds(tmp_path)
