from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from dsft.report import report_evaluation
from dsft.report.figures import ORANGE
from tests.report.pictures import evaluation_of, pixels_of, split_of

CLASSES = ["ant", "bee", "cow"]
TABLES = {"metrics.json", "per_class.csv", "confusion.csv", "predictions.csv"}


def test_tables_and_pictures_are_written_and_what_was_there_is_gone(tmp_path: Path) -> None:
    split = split_of(np.zeros((4, 8, 8), np.uint8), [0, 1, 2, 0], CLASSES)
    wrong = evaluation_of(torch.eye(3)[[1, 1, 2, 0]], split)
    report_evaluation(tmp_path / "test", wrong, split)
    pictures = {"confusion.png", "reliability.png", "mistakes.png"}
    assert {path.name for path in (tmp_path / "test").iterdir()} == TABLES | pictures
    right = evaluation_of(torch.eye(3)[[0, 1, 2, 0]], split)
    report_evaluation(tmp_path / "test", right, split)
    assert {path.name for path in (tmp_path / "test").iterdir()} == (TABLES | pictures) - {"mistakes.png"}
    assert json.loads((tmp_path / "test" / "metrics.json").read_text(encoding="utf-8"))["top1"] == 100.0


def test_a_fitted_temperature_is_seen_in_the_reliability(tmp_path: Path) -> None:
    split = split_of(np.zeros((4, 8, 8), np.uint8), [0, 1, 2, 0], CLASSES)
    found = evaluation_of(torch.eye(3)[[1, 1, 2, 0]], split)
    report_evaluation(tmp_path / "plain", found, split)
    report_evaluation(tmp_path / "scaled", found.at_temperature(0.5, "val"), split)
    orange = [pixels_of(tmp_path / name / "reliability.png", ORANGE).sum() for name in ("plain", "scaled")]
    assert orange[0] == 0 < orange[1]
