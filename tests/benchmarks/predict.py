"""Where the time of `dsft predict` goes over 1,000 small JPEGs: decoding, the model, and everything else."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image

import dsft
from dsft.assembly import Source
from dsft.assembly.inputs import as_images
from dsft.choices import ModelSource
from dsft.commands import predict
from dsft.data import evaluation_transform
from dsft.data.decoding import read_image
from dsft.models import ModelSpec, preprocessing_of

IMAGES, SIDE, BATCH = 1000, 64, 64
MODEL = "resnet18"
ROUNDS = 3


def write_pictures(folder: Path) -> list[Path]:
    """Write JPEGs with something to decode."""
    random = np.random.default_rng(0)
    paths = []
    for number in range(IMAGES):
        coarse = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        paths.append(folder / f"{number:04d}.jpg")
        Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


def timed(work: Callable[[], object]) -> float:
    """Return how long something takes, in seconds of this thread's processor time."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


def main() -> None:
    """Print the shares; each is the median of rounds in turn, one thread, no worker processes."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "pictures").mkdir()
        paths = write_pictures(folder / "pictures")
        stated = preprocessing_of(ModelSpec(ModelSource.TIMM, MODEL, 10, 3))
        preprocessing = as_images(stated).replace(image_size=(SIDE, SIDE))
        dsft.save(timm.create_model(MODEL, num_classes=10), folder / "model", preprocessing=preprocessing)
        model = dsft.load(folder / "model").to(memory_format=torch.channels_last)
        transform = evaluation_transform(preprocessing)
        images = torch.randn(BATCH, 3, *preprocessing.size).to(memory_format=torch.channels_last)

        def read_all() -> None:
            for path in paths:
                transform(read_image(path))

        def run_all() -> None:
            with torch.inference_mode():
                for start in range(0, IMAGES, BATCH):
                    model(images[: IMAGES - start])

        model_folder = Source(str(folder / "model"))
        settings = predict.PredictSettings(batch_size=BATCH, workers=0)

        def predict_all() -> None:
            predict.run(model_folder, [str(folder / "pictures")], settings, device="cpu")

        def load() -> None:
            dsft.load(folder / "model")

        rounds = [[timed(work) for work in (load, read_all, run_all, predict_all)] for _ in range(ROUNDS)]
        loading, reading, running, whole = (sorted(column)[ROUNDS // 2] for column in zip(*rounds, strict=True))
        print(f"{IMAGES} JPEGs of {SIDE} x {SIDE}, {MODEL}, batch {BATCH}, one thread")  # noqa: T201
        rest = whole - loading - reading - running
        parts = {
            "load the model": loading,
            "decode, resize": reading,
            "model": running,
            "the rest": rest,
            "whole": whole,
        }
        for name, seconds in parts.items():
            rate = IMAGES / seconds if seconds > 0 else float("inf")
            print(f"{name:16} {seconds:7.2f} s  {seconds / whole:6.1%}  {rate:8.0f} images/s")  # noqa: T201


if __name__ == "__main__":
    main()
