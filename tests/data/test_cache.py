from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsft.choices import Cache, SplitName
from dsft.data import LoaderSettings, Split, evaluation_transform, make_loader, open_digits, shared_memory, with_cache
from dsft.data import cache as cache_module
from dsft.data.cache import CachedSource
from dsft.errors import DataError
from dsft.progress import Warn
from tests.data.pictures import model_input, write_images

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*multi-threaded.*fork")


@pytest.fixture(params=["fork", "forkserver"])
def start_method(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every way in which worker processes start here; they share nothing but what they are given under the second."""
    if request.param not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {request.param} on this system")
    before = multiprocessing.get_start_method()
    # Without it each worker would import torch.
    multiprocessing.get_context("forkserver").set_forkserver_preload(["dsft.training"])
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


def test_an_image_is_decoded_once(tmp_path: Path) -> None:
    source = write_images(tmp_path, {"a": 3, "b": 2})
    Image.fromarray(np.arange(35, dtype=np.uint8).reshape(5, 7)).save(tmp_path / source.keys[1])
    cached = CachedSource(source, 10_000)
    first = [cached.read(index) for index in range(5)]
    assert cached.num_cached == 5
    for key in source.keys:
        (tmp_path / key).unlink()
    for image, index in zip(first, range(5), strict=True):
        again = cached.read(index)
        assert (again.mode, again.size) == (image.mode, image.size)
        assert again.tobytes() == image.tobytes()
    assert first[1].mode == "L"
    assert first[1].size == (7, 5)


def test_images_beyond_the_capacity_are_decoded_each_time(tmp_path: Path) -> None:
    source = write_images(tmp_path, {"a": 5})
    cached = CachedSource(source, 2 * 8 * 8 * 3 + 10)
    for _ in range(2):
        assert [cached.read(index).tobytes() for index in range(5)] == [source.read(i).tobytes() for i in range(5)]
    assert cached.num_cached == 2


def test_the_cache_has_the_properties_of_its_source(tmp_path: Path) -> None:
    source = write_images(tmp_path, {"a": 2, "b": 1})
    cached = CachedSource(source, 1000)
    for name in ("origin", "classes", "keys", "targets", "in_memory"):
        assert getattr(cached, name) == getattr(source, name)
    assert cached.identity(1) == source.identity(1)
    (tmp_path / source.keys[0]).write_bytes(b"")
    with pytest.raises(DataError, match=r"000\.png' cannot be read"):
        cached.read(0)
    assert cached.num_cached == 0


@pytest.mark.usefixtures("start_method")
def test_workers_share_decoded_images(tmp_path: Path) -> None:
    source = write_images(tmp_path, {"a": 8, "b": 8})
    cached = CachedSource(source, 100_000)
    split = Split(SplitName.VAL, cached, tuple(range(16)), source.classes)
    loader = make_loader(
        split,
        evaluation_transform(model_input()),
        LoaderSettings(batch_size=4, workers=2),
        shuffle=False,
    )
    before = [batch.images for batch in loader.epoch(0)]
    assert cached.num_cached == 16
    for key in source.keys:
        (tmp_path / key).unlink()
    after = [batch.images for batch in loader.epoch(1)]
    assert all((one == other).all() for one, other in zip(before, after, strict=True))


def test_the_cache_is_used_if_requested_and_useful(tmp_path: Path) -> None:
    source = write_images(tmp_path, {"a": 1})
    assert with_cache(source, Cache.NONE) is source
    assert isinstance(with_cache(source, Cache.AUTO), CachedSource)
    assert isinstance(with_cache(source, Cache.RAM), CachedSource)
    digits = open_digits()[SplitName.TRAIN]
    assert with_cache(digits, Cache.RAM) is digits


def test_sources_share_the_memory_by_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "free_memory", lambda: 4_000_000)
    source = write_images(tmp_path, {"a": 1})
    cached = [with_cache(source, Cache.AUTO, part) for part in (1.0, 0.5)]
    assert [one.capacity for one in cached if isinstance(one, CachedSource)] == [1_000_000, 500_000]


class _InspectedLock:
    """Compares the cache with its source whenever the lock is released."""

    def __init__(self, cached: CachedSource, images: list[Image.Image]) -> None:
        self._lock = multiprocessing.get_context().Lock()
        self._cached, self._images = cached, images
        self.published: list[int] = []

    def acquire(self, timeout: float) -> bool:
        return self._lock.acquire(timeout=timeout)

    def release(self) -> None:
        rows = [self._cached._row(index).tolist() for index in range(len(self._images))]
        for index, (start, count, *header) in enumerate(rows):
            if header[-1]:
                found = self._cached._view(np.dtype(np.uint8), count, self._cached._bytes_at + start)
                assert found.tobytes() == self._images[index].tobytes()
        self.published.append(sum(row[-1] > 0 for row in rows))
        self._lock.release()


def test_a_row_is_published_under_the_lock_and_after_its_pixels(tmp_path: Path) -> None:
    source = write_images(tmp_path, {"a": 3})
    cached = CachedSource(source, 10_000)
    lock = _InspectedLock(cached, [source.read(index) for index in range(3)])
    cached._lock = lock  # type: ignore[assignment]
    for count in range(1, 4):
        cached.read(count - 1)
        assert lock.published[-1] == count


def test_a_reader_does_without_the_cache_when_the_lock_is_never_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_LOCK_TIMEOUT_S", 0.01)
    source = write_images(tmp_path, {"a": 2})
    cached = CachedSource(source, 10_000)
    cached.read(0)
    # As a process would that is killed while it adds an image.
    assert cached._lock.acquire(timeout=1)
    assert cached.read(0).tobytes() == source.read(0).tobytes()
    (tmp_path / source.keys[0]).unlink()
    with pytest.raises(DataError, match="cannot be read"):
        cached.read(0)


@pytest.mark.usefixtures("start_method")
def test_shared_memory_is_given_back(tmp_path: Path) -> None:
    source = write_images(tmp_path, {"a": 1})
    before = _named_blocks()
    cached = CachedSource(source, 100_000)
    cached.read(0)
    del cached
    assert _named_blocks() == before


def _named_blocks() -> set[str]:
    folder = shared_memory._SHM_FOLDER
    return {path.name for path in folder.glob("psm_*")} if folder.is_dir() else set()


def test_a_small_file_system_for_shared_memory_limits_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared_memory._SHM_FOLDER
    if not folder.is_dir():
        pytest.skip("no file system for shared memory")
    monkeypatch.setattr(shared_memory, "_starts_by_fork", lambda: False)
    assert shared_memory.shareable_memory(1000) == 1000
    assert shared_memory.shareable_memory(1 << 60) < 1 << 60
    monkeypatch.setattr(shared_memory, "_starts_by_fork", lambda: True)
    assert shared_memory.shareable_memory(1 << 60) == 1 << 60


def test_a_cache_that_is_requested_and_impossible_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_images(tmp_path, {"a": 1})
    events: list[object] = []
    monkeypatch.setattr(cache_module, "free_memory", lambda: None)
    assert with_cache(source, Cache.AUTO, report=events.append) is source
    assert events == []
    assert with_cache(source, Cache.RAM, report=events.append) is source
    (event,) = events
    assert isinstance(event, Warn)
    assert "data.cache: ram: images are decoded each time: the system does not report" in event.message
    monkeypatch.setattr(cache_module, "free_memory", lambda: 1 << 70)
    assert with_cache(source, Cache.RAM, report=events.append) is source
    assert "provides no memory" in str(events[-1])
