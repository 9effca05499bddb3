"""Conversion beside channel pruning at equal measured time, without training and after two epochs of it.

Two networks on the CIFAR-10 images of ../shared/data: its ResNet-32, and a ResNet-18 of timm that ``finetune.py --out``
trained (``FOLDER/dense-0``). dsft converts to each share of the multiply-accumulates. Torch-Pruning (Fang et al. 2023,
``pip install torch-pruning``) removes channels at nine strengths, rounded to eights and to fours; of the networks that
take at most 3 % more time than dsft's, the one with the least divergence from the dense network on the calibration
images is its answer. ``group norm`` and ``Taylor`` rank the channels of all layers together, ``uniform`` takes the same
part of every layer. In ResNet-32, whose shortcuts fix the widths, only the widths within blocks are pruned.

Times are medians of passes that are timed in turn with the dense network, one image, one thread; those in the table are
measured anew, and differ by some percent from those by which a network was chosen. The calibration images of dsft and
the labelled images of Taylor's gradients are the same 512.

    python tests/benchmarks/finetune.py --seeds 1 --out runs/cifar
    python tests/benchmarks/pruning.py [--resnet18 runs/cifar/dense-0] [--shares 0.5 0.3] [--runtime onnx] [--tune]
"""

from __future__ import annotations

import argparse
import copy
import itertools
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from torch import Tensor, nn
from torch.nn import functional

import dsft
from tests.benchmarks.cifar import draw_images, macs_share, say, tune
from tests.benchmarks.engine import as_onnx, as_torch, compare_classes, predict, time_ratio, top1
from tests.cifar import DATA, EXAMPLE, load_images, load_resnet32

Images = tuple[Tensor, Tensor]
PASSES: dict[str, Callable[[nn.Module, Tensor], Callable[[], Any]]] = {"onnx": as_onnx, "torch": as_torch}
TOLERANCE = 1.03
STRENGTHS = [number / 10 for number in range(1, 10)]
MULTIPLES = [8, 4]
"""What channel counts are rounded to: Torch-Pruning leaves a layer alone that rounding would empty."""


@dataclass(frozen=True)
class Job:
    """A network to make faster.

    Attributes:
        name: What the table calls it.
        model: The network in evaluation mode.
        kept: Modules whose output channels stay.
    """

    name: str
    model: nn.Module
    kept: Callable[[nn.Module], list[nn.Module]]


class Clock:
    """Measures networks beside the dense one.

    Args:
        dense: The network before.
        image: One input.
        runtime: A key of ``PASSES``.
    """

    def __init__(self, dense: nn.Module, image: Tensor, runtime: str) -> None:
        self._image, self._prepare = image, PASSES[runtime]
        self._dense = self._prepare(copy.deepcopy(dense), image)

    def share(self, model: nn.Module) -> float:
        """Return the time of a network over that of the dense one."""
        return time_ratio([self._dense, self._prepare(copy.deepcopy(model), self._image)])


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resnet18", type=Path, help="a run folder; without it, ResNet-32 alone")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.3], help="MACs that dsft leaves")
    parser.add_argument("--runtime", choices=list(PASSES), default="onnx", help="where times are measured")
    parser.add_argument("--tune", action="store_true", help="train two epochs as well")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        say(f"{DATA} is not there, so nothing is measured.")
        return
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    jobs = [Job("ResNet-32", load_resnet32(), all_but_inner)]
    if arguments.resnet18:
        jobs.append(Job("ResNet-18", dsft.load(arguments.resnet18), classifiers))
    train, test = load_images("train"), load_images("test")
    for job in jobs:
        say(f"{job.name}, {arguments.runtime}, {len(test[0]):,} test images")
        say(f"{'way':12} {'time':>5} {'MACs':>5} {'lost':>6} {'KL':>7} {'agree':>6}" + "  tuned" * arguments.tune)
        clock = Clock(job.model, test[0][:1], arguments.runtime)
        show("dense", job.model, job, train, test, clock, is_tuned=arguments.tune)
        ways = {way: prune(job, way, train, clock) for way in WAYS}
        for share in arguments.shares:
            images = torch.split(draw_images(train[0], 0), 64)
            converted = dsft.convert(job.model, EXAMPLE, calibration=images, budget={"macs": share}, seed=0).model
            most = TOLERANCE * show("dsft", converted, job, train, test, clock, is_tuned=arguments.tune)
            for way, networks in ways.items():
                fast = [network for network in networks if network.time <= most]
                if not fast:
                    say(f"{way:12} no network of this time; least {min(network.time for network in networks):.2f}")
                    continue
                best = min(fast, key=lambda network: network.divergence)
                show(way, best.model, job, train, test, clock, is_tuned=arguments.tune)


@dataclass(frozen=True)
class Pruned:
    """A pruned network.

    Attributes:
        model: The network.
        time: Its share of the dense network's time.
        divergence: Its mean divergence from the dense network on the calibration images.
    """

    model: nn.Module
    time: float
    divergence: float


def prune(job: Job, way: str, train: Images, clock: Clock) -> list[Pruned]:
    """Return the networks of all strengths."""
    images, labels = draw_images(train[0], 0), draw_images(train[1], 0)
    dense = predict(job.model, images)
    found = []
    for strength, multiple in itertools.product(STRENGTHS, MULTIPLES):
        model = copy.deepcopy(job.model)
        if way == "Taylor":
            for part, classes in zip(torch.split(images, 64), torch.split(labels, 64), strict=True):
                torch.autograd.backward(functional.cross_entropy(model(part), classes))
        remove_channels(model, way, strength, multiple, job.kept(model))
        _, divergence = compare_classes(dense, predict(model, images))
        found.append(Pruned(model, clock.share(model), divergence))
    return found


def remove_channels(model: nn.Module, way: str, strength: float, multiple: int, kept: list[nn.Module]) -> None:
    """Remove such a part of the channels in place."""
    import torch_pruning

    pruner = torch_pruning.pruner.BasePruner(
        model,
        EXAMPLE,
        importance=WAYS[way](torch_pruning.importance),
        pruning_ratio=strength,
        global_pruning=way != "uniform",
        ignored_layers=kept,
        round_to=multiple,
    )
    pruner.step()
    model.zero_grad()
    model.eval()


WAYS: dict[str, Callable[[Any], Any]] = {
    "group norm": lambda importance: importance.GroupMagnitudeImportance(p=2),
    "Taylor": lambda importance: importance.GroupTaylorImportance(),
    "uniform": lambda importance: importance.GroupMagnitudeImportance(p=2),
}
"""The importance of channels, from the package's module of that name."""


def all_but_inner(model: nn.Module) -> list[nn.Module]:
    """Return the layers of ResNet-32 but the first convolution of each block."""
    layers = (nn.Conv2d, nn.Linear)
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, layers) and not (name.startswith("layer") and name.endswith("conv1"))
    ]


def classifiers(model: nn.Module) -> list[nn.Module]:
    """Return the linear layers."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


def show(way: str, model: nn.Module, job: Job, train: Images, test: Images, clock: Clock, *, is_tuned: bool) -> float:
    """Print the row of one network, and return its share of the dense network's time."""
    before, after = predict(job.model, test[0]), predict(model, test[0])
    lost, time = top1(before, test[1]) - top1(after, test[1]), clock.share(model)
    agreement, divergence = compare_classes(before, after)
    row = f"{way:12} {time:5.2f} {macs_share(job.model, model):5.2f} {lost:6.2f} {divergence:7.4f} {agreement:6.2f}"
    if is_tuned:
        tuned = predict(tune(model, train, job.model, seed=0), test[0])
        row += f" {top1(tuned, test[1]):6.2f}"
    say(row)
    return time


if __name__ == "__main__":
    main()
