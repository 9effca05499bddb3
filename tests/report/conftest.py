"""Pictures of reports are rendered in full."""

from __future__ import annotations

import pytest

from dsft.report import figures
from tests.conftest import RENDER


@pytest.fixture(autouse=True)
def _rendered_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_png", RENDER)
