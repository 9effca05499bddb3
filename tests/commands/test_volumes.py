"""Volumes in files, and segmentation of artificial volumes with a U-Net of three axes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from dsft.artifact import read_manifest
from dsft.choices import SplitName
from dsft.data.sources.solids import open_solids
from dsft.preprocessing import SignalPreprocessing
from tests.workshop import dsft


def write_scans(root: Path, count: int) -> None:
    """Write volumes with a bright half above or below, half of them with slices twice as thick."""
    nibabel = pytest.importorskip("nibabel")
    generator = np.random.default_rng(0)
    for name in ("above", "below"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            thickness = 1 + number % 2
            values = generator.normal(0, 0.3, (10, 10, 12 // thickness))
            half = values.shape[2] // 2
            values[..., half:] += name == "above"
            values[..., :half] += name == "below"
            image = nibabel.Nifti1Image(values.astype(np.float32), np.diag([1.0, 1.0, thickness, 1.0]))
            nibabel.save(image, root / name / f"scan{number:02d}.nii.gz")


def test_scans_are_classified_at_one_spacing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_scans(Path("scans"), 25)
    Path("dense.yaml").write_text(
        "version: 1\nname: dense\nmodel: {source: builtin, name: cnn3d_16}\n"
        "data: {source: volumes, root: scans, batch_size: 8, workers: 0, signal: {spacing: [1, 1, 1]}}\n"
        "augment: {shift: 0.1, noise: 0.1}\noptim: {lr: 1e-2}\nschedule: {epochs: 3, warmup_epochs: 0}\n"
        "train: {device: cpu}\n"
    )
    done = dsft("train", "dense.yaml")
    assert done.exit_code == 0, done.stderr
    found = read_manifest(Path("runs/dense/model")).preprocessing
    assert isinstance(found, SignalPreprocessing)
    assert (found.length, found.spacing) == ((12, 10, 10), (1.0, 1.0, 1.0))
    assert json.loads(Path("runs/dense/evaluation/test/metrics.json").read_text())["top1"] >= 80
    (tmp_path / "scans" / "below" / "damaged.nii.gz").write_bytes(b"")
    done = dsft("predict", "runs/dense", "scans/below", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert "damaged.nii.gz' cannot be read as a signal" in done.stderr
    assert sum(row["class"] == "below" for row in rows) >= 20
    done = dsft("data", "check", "scans", "--json")
    assert done.exit_code == 1
    assert [one["key"] for one in json.loads(done.stdout)["corrupt"]] == ["below/damaged.nii.gz"]
    np.save("plain.npy", np.zeros((1, 12, 10, 10), np.float32))
    done = dsft("predict", "runs/dense", "plain.npy", "--bad-images", "error")
    assert done.exit_code == 2
    assert "takes volumes with a spacing" in " ".join(done.stderr.split())
    done = dsft("train", "dense.yaml", "name=other", "data.signal.spacing=[1, 1]")
    assert done.exit_code == 2
    assert "data.signal.spacing: must have a number for each axis" in " ".join(done.stderr.split())


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
