"""PhaseNet, which picks seismic waves, from its checkpoint through a conversion in Python and a run of the CLI."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import dsft as api
from tests.cifar import DATA
from tests.phasenet import PhaseNet, load_phasenet, load_seismograms, score_picks
from tests.workshop import dsft

WEIGHTS = DATA / "weights" / "phasenet.safetensors"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not WEIGHTS.is_file(), reason="../shared/data is not there")]

_NET = """\
from tests.phasenet import PhaseNet

def make():
    network = PhaseNet()
    network.pretrained_cfg = {"input_size": (3, 3000)}
    return network
"""
_RECIPE = """\
version: 1
name: phasenet
task: segmentation
model: {{source: python, builder: "{net}:make", checkpoint: "{weights}", classes: data}}
convert: {{budget: {{macs: 0.5}}, structures: [pw_dw_pw, dw_pw, pw_dw, low_rank], calibration: {{images: 45}}}}
data: {{source: arrays, root: "{root}", batch_size: 15, workers: 0}}
optim: {{lr: 1e-5}}
schedule: {{epochs: 1, warmup_epochs: 0}}
train: {{device: cpu}}
output: {{dir: "{root}/run"}}
"""


def test_half_of_the_macs_find_the_arrivals(tmp_path: Path) -> None:
    seismograms, arrivals = load_seismograms()
    dense, score = load_phasenet(), score_picks(seismograms[1::2], arrivals[1::2])
    assert score(dense) >= 95
    conversion = api.convert(
        dense,
        seismograms[:1],
        calibration=[seismograms[::2]],
        budget={"macs": 0.5},
        structures=["pw_dw_pw", "dw_pw", "pw_dw", "low_rank"],
        task="segmentation",
    )
    assert conversion.report.converted.macs <= 0.5 * conversion.report.original.macs
    assert score(dense) - score(conversion.model.eval()) <= 2
    api.save(conversion.model, tmp_path / "out", plan=conversion.plan, task="segmentation")
    again = api.load(tmp_path / "out", skeleton=PhaseNet())
    with torch.no_grad():
        assert torch.equal(again(seismograms[:4]), conversion.model(seismograms[:4]))


def test_a_run_fine_tunes_the_conversion(tmp_path: Path) -> None:
    seismograms, arrivals = load_seismograms()
    classes = np.zeros((90, 3000), np.uint8)
    for row, own in zip(classes, arrivals.tolist(), strict=True):
        for number, place in enumerate(own, 1):
            row[place - 20 : place + 21] = number
    for name, rows in (("train", slice(0, 60)), ("val", slice(60, 75)), ("test", slice(75, 90))):
        np.savez(tmp_path / f"{name}.npz", x=seismograms[rows].numpy(), y=classes[rows], classes=["noise", "P", "S"])
    recipe = tmp_path / "recipe.yaml"
    net = tmp_path / "net.py"
    net.write_text(_NET)
    places = {"net": net.as_posix(), "weights": WEIGHTS.as_posix(), "root": tmp_path.as_posix()}
    recipe.write_text(_RECIPE.format(**places))
    done = dsft("finetune", recipe)
    assert done.exit_code == 0, done.stderr
    found = [
        json.loads((tmp_path / f"run/evaluation/{slot}/metrics.json").read_text())["miou"]
        for slot in ("test-original", "test")
    ]
    assert found[1] > found[0] - 0.05
    manifest = json.loads((tmp_path / "run/model/manifest.json").read_text())
    assert manifest["preprocessing"]["length"] == [3000]
    assert manifest["preprocessing"]["std"] == [1.0, 1.0, 1.0]
