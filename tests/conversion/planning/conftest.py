"""Times are measured in full."""

from __future__ import annotations

import pytest

from dsft.runtimes import interleaved_timing
from tests.conftest import ROUNDS


@pytest.fixture(autouse=True)
def _measured_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved_timing, "ROUNDS", ROUNDS)
