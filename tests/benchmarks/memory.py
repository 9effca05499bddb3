"""The memory of a training run with workers, average, teacher and checkpoints: it does not grow with its epochs.

As on the command line, the process keeps what it frees.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn

from dsft.choices import SplitName
from dsft.data import LoaderSettings, Split, make_loader, training_transform
from dsft.data.sources import ImageArray
from dsft.devices import Compute
from dsft.preprocessing import Preprocessing
from dsft.process_memory import keep_memory
from dsft.progress import EpochDone, Event
from dsft.training import TrainingSetup, fit
from tests.training.pieces import DEFAULTS, distill_settings, ema_settings, schedule_settings

EPOCHS = 40
SETTLED = 10  # epochs after which allocators and caches have what they need
ALLOWED = 16.0  # MiB between then and the end

Figures = dict[int, float]


def resident() -> float:
    """Return the memory that this process holds, in MiB; where the system does not say, the most it ever held."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text("utf-8").split()[1]) * resource.getpagesize() / 2**20
    # In bytes on macOS, in KiB elsewhere.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def train(folder: Path) -> Figures:
    """Train for many short epochs and return the memory after each."""
    found: Figures = {}

    def note(event: Event) -> None:
        if isinstance(event, EpochDone):
            found[event.epoch] = resident()

    def validate(module: nn.Module) -> Mapping[str, float]:
        with torch.inference_mode():
            return {"val/top1": float(module.eval()(torch.zeros(1, 3, 32, 32)).argmax())}

    pixels = np.random.default_rng(0).integers(0, 256, (128, 32, 32, 3), dtype=np.uint8)
    source = ImageArray("array", ("a", "b"), pixels, tuple(index % 2 for index in range(len(pixels))))
    split = Split(SplitName.TRAIN, source, tuple(range(len(pixels))), source.classes)
    half = (0.5, 0.5, 0.5)
    preprocessing = Preprocessing((32, 32), 3, half, half, "bilinear", 1.0, "center")
    transform = training_transform(
        preprocessing, scale=(0.5, 1.0), hflip=0.5, auto_augment=None, color_jitter=None, erase=0.2
    )
    loader = make_loader(
        split,
        transform,
        LoaderSettings(batch_size=32, workers=2),
        shuffle=True,
    )
    settings = replace(
        DEFAULTS,
        schedule=schedule_settings("cosine", EPOCHS),
        ema=ema_settings(0.9),
        distill=distill_settings(0.5),
        save_every="1ep",
    )
    student, teacher = (timm.create_model("test_resnet", num_classes=2) for _ in range(2))
    fit(
        TrainingSetup(student, settings, Compute(torch.device("cpu"), channels_last=True), teacher=teacher),
        loader,
        validate=validate,
        folder=folder,
        report=note,
    )
    return found


def main() -> None:
    """Print the memory after some epochs; fail where it grows."""
    torch.set_num_threads(1)
    keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        found = train(Path(folder))
    for epoch in (1, SETTLED, *range(2 * SETTLED, EPOCHS + 1, SETTLED)):
        print(f"epoch {epoch:3}  {found[epoch]:7.1f} MiB")  # noqa: T201
    growth = found[EPOCHS] - found[SETTLED]
    print(f"growth from epoch {SETTLED} to {EPOCHS}: {growth:+.1f} MiB, allowed {ALLOWED:.0f}")  # noqa: T201
    if growth > ALLOWED:
        sys.exit(1)


if __name__ == "__main__":
    main()
