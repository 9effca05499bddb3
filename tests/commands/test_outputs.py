from __future__ import annotations

from pathlib import Path

import pytest

from dsft.commands.outputs import require_apart
from dsft.errors import OutputError


def test_a_folder_that_is_replaced_holds_nothing_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out" / "model").mkdir(parents=True)
    (tmp_path / "out" / "model" / "weights").touch()
    (tmp_path / "output").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("out", "out/model", "output/../out/model/weights"):
        with pytest.raises(OutputError, match=f"holds '{name}', which this command reads, so it cannot be replaced"):
            require_apart(Path("out"), (None, name))
    # Neighbours, and words that are no paths.
    require_apart(Path("out"), (None, "output", "original", "out/nothing"))
