"""Converted networks in Ultralytics, which is never a dependency: it is tested where it is installed."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dsft
from dsft.errors import ConversionError
from tests.ecosystem.pictures import BLOOD, CELLS, blood_cells
from tests.quick_conversion import convert_quickly, converted_layers

# No downloads, and no installation of packages.
os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false")
pytest.importorskip("ultralytics")
# Other packages warn of their own affairs.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

from ultralytics import RTDETR, YOLO  # noqa: E402
from ultralytics.models.rtdetr.train import RTDETRTrainer  # noqa: E402
from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: E402
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel  # noqa: E402

NETWORKS = ("yolo11n.yaml", "yolov8n.yaml", "rtdetr-l.yaml")
IMAGES = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class ConvertedTrainer(DetectionTrainer):  # type: ignore[misc]
    """As in recipes/README.md."""

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        del cfg, verbose
        return weights


class ConvertedTransformerTrainer(RTDETRTrainer):  # type: ignore[misc]
    """The same for RT-DETR."""

    get_model = ConvertedTrainer.get_model


def opened(path: str | Path) -> Any:
    """Return what Ultralytics opens a network or a checkpoint with."""
    return (RTDETR if "rtdetr" in str(path) else YOLO)(path)


def network(name: str) -> Any:
    """Return a network with random weights, and norms that do something."""
    model: Any = opened(name).model
    generator = torch.Generator().manual_seed(0)
    norms: Any = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    for part in norms:
        for tensor in (part.running_mean, part.bias.data):
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
        part.running_var.copy_(0.5 + torch.rand(part.running_var.shape, generator=generator))
    return model.eval()


def outputs_of(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(IMAGES)[0]
    return found


def norms_of(model: nn.Module) -> list[str]:
    return [name for name, part in model.named_modules() if isinstance(part, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", NETWORKS)
def test_fusing_keeps_layers_and_outputs(name: str) -> None:
    dense = network(name)
    model, plan = convert_quickly(dense, IMAGES, ("dw_pw", "low_rank"))
    expected = outputs_of(model)
    fused = copy.deepcopy(model).fuse(verbose=False)
    assert fused.is_fused()
    # RT-DETR has norms that are not fused in the dense network either.
    assert norms_of(fused) == norms_of(dense.fuse(verbose=False))
    left = set(converted_layers(fused))
    # RepConv adds its branches up, and becomes one dense convolution.
    gone = {layer.name for layer in plan.converted} - left
    assert left
    assert all(isinstance(fused.get_submodule(name.rsplit(".", 2)[0]).conv, nn.Conv2d) for name in gone)
    close = torch.isclose(outputs_of(fused), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    # RT-DETR selects the places of its queries by their scores; of two that rounding makes equal, either is taken.
    assert close.double().mean() >= (0.998 if "rtdetr" in name else 1)


def data_of(folder: Path, count: int = 50) -> Path:
    """Write pictures as Ultralytics takes them, and return their description."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for path, (width, height), boxes in blood_cells(count):
        (folder / "images" / path.name).symlink_to(path)
        rows = [
            f"{kind} {(left + right) / 2 / width} {(top + bottom) / 2 / height} "
            f"{(right - left) / width} {(bottom - top) / height}"
            for kind, (left, top, right, bottom) in boxes
        ]
        (folder / "labels" / f"{path.stem}.txt").write_text("\n".join(rows))
    description = folder / "data.yaml"
    names = "".join(f"  {place}: {name}\n" for place, name in enumerate(CELLS))
    description.write_text(f"path: {folder}\ntrain: images\nval: images\nnames:\n{names}")
    return description


def checkpoint(folder: Path, name: str = "yolo11n.yaml") -> Path:
    """Write a dense network with random weights for three classes, as its users have one."""
    made = opened(name)
    made.model = (RTDETRDetectionModel if "rtdetr" in name else DetectionModel)(name, nc=3, verbose=False)
    made.model.names = dict(enumerate(CELLS))
    made.model.args = made.overrides
    path = folder / f"dense-{Path(name).stem}.pt"
    made.save(path)
    return path


SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "imgsz": 96,
    "batch": 10,
    "device": "cpu",
    "workers": 0,
    "amp": False,
    "plots": False,
    "optimizer": "SGD",
    "lr0": 0.01,
    "warmup_epochs": 0,
    "exist_ok": True,
    "verbose": False,
}


@pytest.mark.skipif(not BLOOD.is_dir(), reason="../shared/data is not there")
@pytest.mark.parametrize("name", NETWORKS)
def test_its_trainer_keeps_the_layers_where_it_is_told_to(name: str, tmp_path: Path) -> None:
    dense = checkpoint(tmp_path, name)
    tuned = opened(dense)
    tuned.model, plan = convert_quickly(tuned.model.eval(), torch.zeros(1, 3, 96, 96), ("dw_pw", "low_rank"))
    losses: list[float] = []
    tuned.add_callback("on_train_start", lambda trainer: dsft.check_converted(trainer.model, plan))
    tuned.add_callback(
        "on_train_epoch_end", lambda trainer: losses.append(sum(float(each) for each in trainer.tloss.values()))
    )
    trainer, settings = ConvertedTrainer, SETTINGS
    if "rtdetr" in name:
        trainer, settings = ConvertedTransformerTrainer, SETTINGS | {"optimizer": "AdamW", "lr0": 1e-4}
    tuned.train(trainer=trainer, data=data_of(tmp_path / "data"), project=tmp_path, name="run", **settings)
    assert losses[-1] < losses[0]
    dsft.check_converted(tuned.model, plan)
    best = tmp_path / "run" / "weights" / "best.pt"
    loaded: Any = type(tuned)(best)
    dsft.check_converted(loaded.model, plan)
    assert torch.equal(outputs_of(loaded.model.eval()), outputs_of(tuned.model.eval()))
    # predict fuses the network.
    results = loaded.predict(next((BLOOD / "JPEGImages").iterdir()), imgsz=96, device="cpu", conf=0.0, verbose=False)
    assert len(results) == 1
    # A model folder of dsft holds the same.
    dsft.save(loaded.model, tmp_path / "folder", plan=plan)
    assert torch.equal(
        outputs_of(dsft.load(tmp_path / "folder", skeleton=opened(dense).model)), outputs_of(loaded.model)
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_its_own_export_gives_the_same_outputs(name: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    made = opened(name)
    made.model, _ = convert_quickly(network(name), IMAGES, ("dw_pw", "pw_dw_pw"))
    made.model.pt_path = str(tmp_path / "small.pt")  # its file is written beside this one
    expected = outputs_of(made.model)
    path = made.export(format="onnx", imgsz=64, simplify=False, device="cpu", verbose=False)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: IMAGES.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.skipif(not BLOOD.is_dir(), reason="../shared/data is not there")
def test_its_own_trainer_rebuilds_the_network_and_the_check_says_so(tmp_path: Path) -> None:
    yolo: Any = YOLO(checkpoint(tmp_path))
    yolo.model, plan = convert_quickly(yolo.model.eval(), torch.zeros(1, 3, 96, 96), ("dw_pw", "low_rank"))
    yolo.add_callback("on_train_start", lambda trainer: dsft.check_converted(trainer.model, plan))
    with pytest.raises(ConversionError, match=r"has 0 of the \d+ converted layers of its plan.*was built anew"):
        yolo.train(data=data_of(tmp_path / "data", 10), project=tmp_path, name="run", **SETTINGS)
