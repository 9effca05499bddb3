"""What networks score, take and weigh in each runtime and number format, beside their unconverted selves.

A thin layer over ``dsft deploy``, which it calls for each network, with one thread:

- quickstart and resnet18: the runs of ``dsft finetune quickstart`` and of ``finetune.py``; with ``--quickstart`` and
  ``--resnet18`` those of the two folders given, which are the dense run and the converted one.
- resnet32, dncnn, phasenet: the checkpoints of ../shared/data (see its README), converted without training.
- mobilenetv3 (nothing is converted) and vgg: random weights, for time and equal outputs alone.

    python tests/benchmarks/runtimes.py [--only dncnn] [--runtimes onnxruntime openvino] [--macs 0.5] [--seconds 2]
                                        [--quickstart DENSE CONVERTED] [--resnet18 DENSE CONVERTED]
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import timm
import torch
import torchvision
from torch import Tensor, nn

import dsft
from dsft.assembly import Source
from dsft.assembly.named_data import NamedData
from dsft.choices import Runtime
from dsft.commands import deploy, evaluate
from dsft.commands.check_inputs import CheckSettings
from dsft.errors import DsftError
from dsft.evaluation.deployment import DeployResult, DeployRow
from dsft.preprocessing import InputPreprocessing, Preprocessing, SignalPreprocessing
from tests.benchmarks import finetune, real_networks
from tests.cifar import DATA, MEAN, STD, ResNet32
from tests.phasenet import PhaseNet, load_phasenet, load_seismograms
from tests.zoo import redraw

FASTER, LOST = 0.75, {"%": 0.5, "dB": 0.1}
"""The targets: the largest ratio to the dense network's time, and the largest loss beside it by the score's unit."""

CIFAR = f"model: {{source: timm, name: resnet18}}\ndata: {{source: folder, root: '{DATA / 'cifar10-jpeg'}'}}"
CLEAN = f"task: restoration\nmodel: {{source: builtin, name: denoiser_16}}\n\
data: {{source: pairs, root: '{DATA / 'denoise'}', degrade: {{noise: 15}}, image_size: 96}}"
SIGNALS = "task: segmentation\nmodel: {source: builtin, name: unet_16}\ndata: {source: arrays, root: ROOT}"


@dataclass(frozen=True)
class Pair:
    """A dense network and a converted one as folders, with the data and the builder that they need.

    Attributes:
        dense: Folder of the dense network.
        converted: Folder of the converted network.
        recipe: Recipe of the data; None for those that the folders record.
        builder: ``FILE:FUNCTION`` of a network that no library builds.
        images: Number of test images; None for all.
    """

    dense: Path
    converted: Path
    recipe: Path | None = None
    builder: str | None = None
    images: int | None = None


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--runtimes", nargs="+", type=Runtime, default=list(Runtime))
    parser.add_argument("--macs", type=float, default=0.5, help="share that checkpoints are converted to")
    parser.add_argument("--seconds", type=float, default=2.0, help="about how long the networks of a row are timed")
    parser.add_argument("--quickstart", nargs=2, type=Path, help="folders of the dense run and of the converted one")
    parser.add_argument("--resnet18", nargs=2, type=Path, help="folders of the dense run and of the converted one")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.only:
            folder = Path(temporary) / name
            folder.mkdir()
            try:
                show(name, JOBS[name](folder, arguments), arguments)
            except DsftError as error:
                say(f"{name}: {error}")


def show(name: str, pair: Pair, arguments: argparse.Namespace) -> None:
    """Score both networks in torch, deploy the converted one, and print both."""
    data = NamedData(str(pair.recipe) if pair.recipe is not None else None)
    dense, converted = (Source(str(folder), builder=pair.builder) for folder in (pair.dense, pair.converted))
    scored = evaluate.run([dense, converted], data=data, scoring=evaluate.Scoring(timed=False), device="cpu").models
    difference = scored[1].difference
    check = CheckSettings(data, images=pair.images, calibration_images=pair.images or 256)
    settings = deploy.DeploySettings(tuple(arguments.runtimes), check, seconds=arguments.seconds)
    found = deploy.run(converted, settings)
    spec, macs = found.metric, scored[1].footprint.macs / scored[0].footprint.macs
    lost = 0.0 if difference is None else -difference.value
    ends = "" if difference is None else " to ".join(f"{spec.points * end:+.2f}" for end in difference.interval)
    say(f"\n{name}: {macs:.2f} of the MACs, {-spec.points * lost:+.2f} ({ends}) {spec.label} beside the dense network")
    say("| runtime | dtype | file | score | to torch (95 %) | outputs differ | batch 1, ms | batch 8, ms |")
    say("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in found.rows:
        say(line(row, found))
    for runtime, reason in found.unusable.items():
        say(f"{runtime}: {reason}")
    if macs < 1:
        say(verdict(found, lost))


def line(row: DeployRow, found: DeployResult) -> str:
    """Return a row of the table; the ratio of a time is to the dense network in the same runtime and format."""
    spec, to_torch = found.metric, "-"
    if row.difference is not None:
        low, high = (spec.points * end for end in row.difference.interval)
        to_torch = f"{spec.points * row.difference.value:+.2f} ({low:+.2f} to {high:+.2f})"
    outputs = "-" if row.output_difference is None else f"{row.output_difference:.0e}"
    times = (f"{each.milliseconds.median:.2f} (x {each.ratio.median:.2f})" for each in row.timings.values())
    size = f"{row.file_bytes / 1e6:.2f} MB"
    cells = (str(row.runtime), row.dtype, size, spec.with_unit(row.score), to_torch, outputs, *times)
    return f"| {' | '.join(cells)} |"


def verdict(found: DeployResult, lost: float) -> str:
    """Say in which runtimes the network is fast and right enough, and whether int8 loses at most a point."""
    allowed = LOST[found.metric.unit] / found.metric.points
    parts = []
    for row in found.rows:
        ratios = [timing.ratio.median for timing in row.timings.values()]
        of_all = lost - (row.difference.value if row.difference is not None else 0.0)
        if row.dtype == "float32":
            is_met = max(ratios) <= FASTER and of_all <= allowed
            parts.append(f"{row.runtime} {'met' if is_met else 'MISSED'}")
        elif row.difference is not None:
            parts.append(f"{row.runtime} int8 {'met' if -row.difference.value <= 2 * allowed else 'MISSED'}")
    return f"at most {FASTER} of the time, {found.metric.points * allowed:g} lost; int8 twice that: {', '.join(parts)}"


def run_pair(name: str) -> Callable[[Path, argparse.Namespace], Pair]:
    """Return the job of two run folders, which are trained unless the command line names them."""

    def job(folder: Path, arguments: argparse.Namespace) -> Pair:
        given = getattr(arguments, name)
        return Pair(*(given or TRAINED[name](folder)))

    return job


def train_quickstart(folder: Path) -> tuple[Path, Path]:
    """Train the two runs of the shipped recipes."""
    finetune.run("train", "digits_dense", folder=folder / "digits_dense")
    model = f"model.path={folder / 'digits_dense' / 'model'}"
    finetune.run("finetune", "quickstart", model, folder=folder / "quickstart")
    return folder / "digits_dense", folder / "quickstart"


def train_resnet18(folder: Path) -> tuple[Path, Path]:
    """Train the networks of ``finetune.py`` with one seed."""
    finetune.compare(folder, argparse.Namespace(seeds=1, epochs=15, more=8, macs=0.35, structures="auto"))
    return folder / "longer-0", folder / "separable-0"


TRAINED = {"quickstart": train_quickstart, "resnet18": train_resnet18}


def resnet32(folder: Path, arguments: argparse.Namespace) -> Pair:
    """The CIFAR-10 network of ``real_networks.py``."""
    classes = sorted(each.name for each in (DATA / "cifar10-jpeg" / "train").iterdir())
    shape = Preprocessing((32, 32), 3, MEAN, STD, "bilinear", 1.0, "center")
    job = real_networks.resnet32()
    return write(folder, job.model, job.calibration, arguments.macs, classes, shape, CIFAR, "classification", ResNet32)


def mobilenetv3(folder: Path, arguments: argparse.Namespace) -> Pair:
    """timm's MobileNetV3 at 96 x 96 pixels, nothing of which is converted."""
    del arguments
    return random_weights(folder, redraw(timm.create_model("mobilenetv3_small_100", num_classes=10)).eval(), 1.0)


def vgg(folder: Path, arguments: argparse.Namespace) -> Pair:
    """VGG-11 with batch norms and without its hidden linear layers, at 96 x 96 pixels."""
    return random_weights(folder, redraw(make_vgg()).eval(), arguments.macs, make_vgg)


def make_vgg() -> nn.Module:
    """Return the unconverted network, for ``--builder``."""
    features = torchvision.models.vgg11_bn(weights=None).features
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def random_weights(folder: Path, model: nn.Module, macs: float, builder: Callable[[], nn.Module] | None = None) -> Pair:
    """Write a network of ten classes with random weights, which 64 images of CIFAR-10 are given to."""
    classes = sorted(each.name for each in (DATA / "cifar10-jpeg" / "train").iterdir())
    shape = Preprocessing((96, 96), 3, MEAN, STD, "bilinear", 1.0, "center")
    images = [torch.randn(8, 3, 96, 96, generator=torch.Generator().manual_seed(0))]
    return write(folder, model, images, macs, classes, shape, CIFAR, "classification", builder, 64)


class Denoiser(nn.Module):
    """An image less the noise that a network finds in it."""

    pretrained_cfg = {"input_size": (1, 96, 96), "mean": (0.0,), "std": (1.0,)}  # noqa: RUF012 (as timm has it)

    def __init__(self) -> None:
        super().__init__()
        self.network = real_networks.dncnn().model

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = images - self.network(images)
        return output


def dncnn(folder: Path, arguments: argparse.Namespace) -> Pair:
    """The denoiser of ``real_networks.py``."""
    shape = Preprocessing((96, 96), 1, (0.0,), (1.0,), "bilinear", 1.0, "center")
    images, macs = real_networks.dncnn().calibration, arguments.macs
    return write(folder, Denoiser().eval(), images, macs, ["grey"], shape, CLEAN, "restoration", Denoiser)


def phasenet(folder: Path, arguments: argparse.Namespace) -> Pair:
    """The picker of seismic waves of ``real_networks.py``; a sample within 0.2 s of an arrival has its class."""
    seismograms, arrivals = load_seismograms()
    targets = np.zeros((90, 3000), np.uint8)
    for row, places in zip(targets, arrivals.tolist(), strict=True):
        for number, place in enumerate(places, 1):
            row[place - 20 : place + 21] = number
    classes = ["noise", "P", "S"]
    for name, rows in (("train", slice(0, 90, 2)), ("val", slice(1, 20, 2)), ("test", slice(21, 90, 2))):
        np.savez(folder / f"{name}.npz", x=seismograms[rows].numpy(), y=targets[rows], classes=classes)
    shape = SignalPreprocessing((3000,), 3, (0.0,) * 3, (1.0,) * 3)
    images = torch.split(seismograms[::2], 9)
    recipe = SIGNALS.replace("ROOT", str(folder))
    return write(folder, load_phasenet(), images, arguments.macs, classes, shape, recipe, "segmentation", PhaseNet)


def write(
    folder: Path,
    model: nn.Module,
    calibration: Sequence[Tensor],
    macs: float,
    classes: list[str],
    shape: InputPreprocessing,
    recipe: str,
    task: str,
    builder: Callable[[], nn.Module] | None,
    images: int | None = None,
) -> Pair:
    """Write a network, and its conversion to a share of the MACs; at a share of 1 nothing is converted."""
    converted, plan = model, None
    if macs < 1:
        budget = {"macs": macs}
        conversion = dsft.convert(model, calibration[0][:1], calibration=calibration, budget=budget, task=task, seed=0)
        converted, plan = conversion.model, conversion.plan
    for name, network, own in (("dense", model, None), ("converted", converted, plan)):
        dsft.save(network, folder / name, plan=own, classes=classes, preprocessing=shape, task=task)
    (folder / "data.yaml").write_text(f"version: 1\nname: data\n{recipe}\n", encoding="utf-8")
    named = None if builder is None else f"{inspect.getfile(builder)}:{builder.__name__}"
    return Pair(folder / "dense", folder / "converted", folder / "data.yaml", named, images)


JOBS: dict[str, Callable[[Path, argparse.Namespace], Pair]] = {
    "quickstart": run_pair("quickstart"),
    "resnet18": run_pair("resnet18"),
    "resnet32": resnet32,
    "dncnn": dncnn,
    "phasenet": phasenet,
    "mobilenetv3": mobilenetv3,
    "vgg": vgg,
}


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
