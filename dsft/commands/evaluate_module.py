"""Score a network in memory on a split of a data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import nn

from dsft.assembly import load_split
from dsft.assembly.named_data import NamedData
from dsft.assembly.network import as_network
from dsft.assembly.own_network import InputFormat, copy_own, with_classes
from dsft.assembly.scoring import open_scoring_data, under_class_table
from dsft.choices import Amp, SplitName
from dsft.devices import resolve_compute
from dsft.evaluation import evaluate
from dsft.progress import Report, ignore
from dsft.tasks import CLASSIFICATION, Metrics, Task


def run(
    module: nn.Module,
    data: NamedData,
    *,
    split: SplitName = SplitName.TEST,
    classes: Sequence[str] | None = None,
    task: Task = CLASSIFICATION,
    image_size: int | None = None,
    device: str = "auto",
    report: Report = ignore,
) -> Metrics:
    """Score a copy of a network.

    Args:
        module: The network; it is left unchanged.
        data: The images.
        split: The split to score.
        classes: Names of the network's outputs; None if they are the classes of the data, in order.
        task: What its outputs mean.
        image_size: Side of the images in pixels; None for what the network states in ``pretrained_cfg``, or 224.
        device: Where it runs.
        report: Receives the progress.

    Raises:
        InputError: The network, the data or the classes are invalid.
    """
    compute, name = resolve_compute(device, Amp.NONE, channels_last=True), type(module).__name__
    loaded = copy_own(module, name, InputFormat(image_size), task)
    network = as_network(loaded)
    opened = open_scoring_data(data, network, name, report)
    named = with_classes(loaded, tuple(classes) if classes is not None else opened.classes)
    network = dataclasses.replace(network, classes=named.classes)
    images = under_class_table(opened.split(split, network, report), name, network)
    compute.place_module(network.module)
    loader = load_split(images, opened.section, network.preprocessing, compute)
    return evaluate(network.module, loader, images, compute=compute, task=task, report=report).metrics
