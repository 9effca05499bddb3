from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsft.errors import InputError
from dsft.report import write_comparison
from tests.report.test_page import Parsed
from tests.workshop import Workshop, dsft


def test_evaluate_leaves_a_page_that_can_be_made_again(workshop: Workshop, here: Path) -> None:
    done = dsft("evaluate", workshop.dense, workshop.separable, "--fit-temperature", "--out", "scores")
    assert done.exit_code == 0, done.stderr
    text = (here / "scores" / "report.html").read_text(encoding="utf-8")
    words = Parsed(text).words
    models = json.loads((here / "scores" / "models.json").read_text(encoding="utf-8"))["models"]
    assert {str(workshop.dense), str(workshop.separable)} <= set(words)
    second = models[1]
    assert f"{second['difference']['top1']:+.2f}" in words
    assert f"{second['metrics']['calibrated']['temperature']:.3f}" in words
    assert f"{second['macs'] / models[0]['macs']:.3f}" in words
    (here / "scores" / "report.html").unlink()
    done = dsft("report", "scores")
    assert done.exit_code == 0, done.stderr
    assert (here / "scores" / "report.html").read_text(encoding="utf-8") == text


def test_another_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected the output folder of dsft evaluate, but models\.json is missing"):
        write_comparison(tmp_path)
