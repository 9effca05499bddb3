"""Segmentation of artificial volumes with a U-Net of three axes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dsft.choices import SplitName
from dsft.data.sources.solids import open_solids
from tests.workshop import dsft


@pytest.mark.slow
def test_solids_are_segmented_converted_predicted_and_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    common = ("train.device=cpu", "data.workers=0")
    dense, separable = Path("runs/solids_dense"), Path("runs/solids_separable")
    for arguments in (("train", "solids_dense"), ("finetune", "solids_separable")):
        done = dsft(*arguments, *common)
        assert done.exit_code == 0, done.stderr
    before, after = (
        json.loads((run / "evaluation/test/metrics.json").read_text())["miou"] for run in (dense, separable)
    )
    assert before >= 0.8
    assert after >= before - 0.02
    source = open_solids()[SplitName.TEST]
    np.save("one.npy", source.read(3).values)
    done = dsft("predict", separable, "one.npy", "--pictures", "masks")
    assert done.exit_code == 0, done.stderr
    (written,) = Path("masks").rglob("*.npy")
    assert (np.load(written) == source.read_target(3)).mean() > 0.95
    done = dsft("export", separable, "--out", "net.onnx")
    assert done.exit_code == 0, done.stderr
    assert json.loads(Path("net.onnx.json").read_text())["output"]["shape"] == ["batch", 3, 16, 16, 16]
