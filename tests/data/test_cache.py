from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsft.choices import BadImages, Cache, SplitName
from dsft.data import Split, evaluation_transform, make_loader, open_digits, with_cache
from dsft.data import cache as room
from dsft.data.cache import CachedSource
from dsft.errors import DataError
from tests.data.pictures import model_input, write_images

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are no copies of their parent here"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*multi-threaded.*fork"),
]


def test_an_image_is_decoded_once(tmp_path: Path) -> None:
    source = write_images(tmp_path, {"a": 3, "b": 2})
    Image.fromarray(np.arange(35, dtype=np.uint8).reshape(5, 7)).save(tmp_path / source.keys[1])
    cached = CachedSource(source, 10_000)
    first = [cached.read(index) for index in range(5)]
    assert cached.held == 5
    for key in source.keys:
        (tmp_path / key).unlink()
    for image, index in zip(first, range(5), strict=True):
        again = cached.read(index)
        assert (again.mode, again.size) == (image.mode, image.size)
        assert again.tobytes() == image.tobytes()
    assert first[1].mode == "L"
    assert first[1].size == (7, 5)


def test_what_does_not_fit_is_decoded_each_time(tmp_path: Path) -> None:
    source = write_images(tmp_path, {"a": 5})
    cached = CachedSource(source, 2 * 8 * 8 * 3 + 10)
    for _ in range(2):
        assert [cached.read(index).tobytes() for index in range(5)] == [source.read(i).tobytes() for i in range(5)]
    assert cached.held == 2


def test_it_is_the_source_otherwise(tmp_path: Path) -> None:
    source = write_images(tmp_path, {"a": 2, "b": 1})
    cached = CachedSource(source, 1000)
    for name in ("origin", "classes", "keys", "targets", "in_memory"):
        assert getattr(cached, name) == getattr(source, name)
    assert cached.identity(1) == source.identity(1)
    (tmp_path / source.keys[0]).write_bytes(b"")
    with pytest.raises(DataError, match=r"000\.png' cannot be read"):
        cached.read(0)
    assert cached.held == 0


def test_workers_share_what_one_of_them_decoded(tmp_path: Path) -> None:
    source = write_images(tmp_path, {"a": 8, "b": 8})
    cached = CachedSource(source, 100_000)
    split = Split(SplitName.VAL, cached, tuple(range(16)), source.classes)
    loader = make_loader(
        split,
        evaluation_transform(model_input()),
        batch_size=4,
        workers=2,
        seed=0,
        shuffle=False,
        bad_images=BadImages.ERROR,
        pin_memory=False,
    )
    before = [batch.images for batch in loader.epoch(0)]
    assert cached.held == 16
    for key in source.keys:
        (tmp_path / key).unlink()
    after = [batch.images for batch in loader.epoch(1)]
    assert all((one == other).all() for one, other in zip(before, after, strict=True))


def test_it_is_used_where_it_is_asked_for_and_of_use(tmp_path: Path) -> None:
    source = write_images(tmp_path, {"a": 1})
    assert with_cache(source, Cache.NONE) is source
    assert isinstance(with_cache(source, Cache.AUTO), CachedSource)
    assert isinstance(with_cache(source, Cache.RAM), CachedSource)
    digits = open_digits()[SplitName.TRAIN]
    assert with_cache(digits, Cache.RAM) is digits


def test_sources_share_the_memory_by_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_memory", lambda: 4_000_000)
    source = write_images(tmp_path, {"a": 1})
    capacities = [len(with_cache(source, Cache.AUTO, part)._pixels) for part in (1.0, 0.5)]  # type: ignore[attr-defined]
    assert capacities == [1_000_000, 500_000]
