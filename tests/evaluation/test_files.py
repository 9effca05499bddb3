from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from dsft.evaluation import Evaluation, write_evaluation

CLASSES = ["ant", 'bee, "worker"', "Zürich 牛"]
KEYS = ["a/0.png", "a/1, 2.png", "b/é.png", "unreadable.png", "c/4.png"]


@pytest.fixture
def evaluation() -> Evaluation:
    logits = torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    return Evaluation(
        logits,
        torch.tensor([0, 1, 2, 2]),
        torch.tensor([0, 1, 2, 4]),
        classes=CLASSES,
        split_name="test",
        skipped=1,
    )


def _read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_files_hold_the_evaluation(tmp_path: Path, evaluation: Evaluation) -> None:
    folder = tmp_path / "evaluation" / "test"
    write_evaluation(folder, evaluation, KEYS)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics == evaluation.metrics.to_dict()
    assert metrics["top1"] == 50.0
    per_class = _read(folder / "per_class.csv")
    assert per_class[0] == ["name", "precision", "recall", "f1", "support"]
    assert [row[0] for row in per_class[1:]] == CLASSES
    assert [float(value) for value in per_class[2][1:]] == [0.5, 1.0, pytest.approx(2 / 3), 1.0]
    assert _read(folder / "confusion.csv") == [
        ["target", *CLASSES],
        [CLASSES[0], "1", "0", "0"],
        [CLASSES[1], "0", "1", "0"],
        [CLASSES[2], "1", "1", "0"],
    ]


def test_every_prediction_has_its_key_and_probability(tmp_path: Path, evaluation: Evaluation) -> None:
    write_evaluation(tmp_path / "test", evaluation, KEYS)
    header, *rows = _read(tmp_path / "test" / "predictions.csv")
    assert header == ["key", "target", "predicted", "probability"]
    assert [row[:3] for row in rows] == [
        ["a/0.png", CLASSES[0], CLASSES[0]],
        ["a/1, 2.png", CLASSES[1], CLASSES[1]],
        ["b/é.png", CLASSES[2], CLASSES[0]],
        ["c/4.png", CLASSES[2], CLASSES[1]],
    ]
    expected = evaluation.outputs.softmax(dim=1).amax(dim=1)
    assert [float(row[3]) for row in rows] == pytest.approx(expected.tolist(), abs=1e-6)


def test_an_existing_folder_is_replaced(tmp_path: Path, evaluation: Evaluation) -> None:
    write_evaluation(tmp_path / "test", evaluation, KEYS)
    (tmp_path / "test" / "old.png").touch()
    write_evaluation(tmp_path / "test", evaluation, KEYS)
    assert sorted(path.name for path in (tmp_path / "test").iterdir()) == [
        "confusion.csv",
        "metrics.json",
        "per_class.csv",
        "predictions.csv",
    ]


def test_a_failure_leaves_the_existing_folder(tmp_path: Path, evaluation: Evaluation) -> None:
    write_evaluation(tmp_path / "test", evaluation, KEYS)
    before = (tmp_path / "test" / "predictions.csv").read_bytes()
    with pytest.raises(IndexError):
        write_evaluation(tmp_path / "test", evaluation, KEYS[:2])
    assert (tmp_path / "test" / "predictions.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["test"]
