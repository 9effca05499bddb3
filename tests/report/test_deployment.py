from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dsft.report.deployment import DEPLOYMENT_FILE, deployment_table
from dsft.storage import write_json
from dsft.tasks import CLASSIFICATION

FOUND = {"images": 40, "device": "Some Processor", "threads": 1, "rows": []}


@pytest.mark.parametrize(
    ("found", "counted"),
    [({**FOUND, "kind": "clip"}, "40 test clips"), (FOUND, "40 test images"), ({**FOUND, "images": 1}, "1 test image")],
)
def test_the_title_counts_what_was_scored(tmp_path: Path, found: dict[str, Any], counted: str) -> None:
    write_json(tmp_path / DEPLOYMENT_FILE, found)
    table = deployment_table(tmp_path, CLASSIFICATION)
    assert table is not None
    assert table.caption.startswith(f"Runtimes: {counted}, differences to torch; Some Processor")


def test_a_run_that_was_not_deployed_has_no_table(tmp_path: Path) -> None:
    assert deployment_table(tmp_path, CLASSIFICATION) is None
