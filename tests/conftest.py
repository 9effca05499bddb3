"""Every test runs with one torch thread, without network, and leaves no random state behind."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Before anything imports torch or the hub's client.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""


import hypothesis
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from dsft.report import figures
from dsft.runtimes import interleaved_timing
from tests.workshop import Workshop, open_workshop

RENDER, ROUNDS = figures._png, interleaved_timing.ROUNDS
IN_FULL = [Path(__file__).parent / name for name in ("report", "runtimes", "conversion/planning")]
"""The tests that look at pictures or times."""

# Property tests try the same examples each time, so that a change is what makes them fail; make test-all tries others.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("other", deadline=None)
hypothesis.settings.load_profile("same")


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_works() -> None:
    # A shell starts what it puts into the background with Ctrl-C ignored, and tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["DSFT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def _short_reports() -> Iterator[None]:
    # The layout and rendering of pictures and the measurement of times take half the time of a short run. Commands that
    # run in processes of their own do both in full.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "_png", _blank)
        patch.setattr(interleaved_timing, "ROUNDS", (7, 20))
        yield


@pytest.fixture(autouse=True)
def _full_reports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if any(folder in request.path.parents for folder in IN_FULL):
        monkeypatch.setattr(figures, "_png", RENDER)
        monkeypatch.setattr(interleaved_timing, "ROUNDS", ROUNDS)


def _blank(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (round(figure.bbox.width), round(figure.bbox.height))).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed() -> Iterator[None]:
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A dense run and a separable one on small pictures; tests read them and write elsewhere."""
    return open_workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
