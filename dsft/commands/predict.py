"""``dsft predict``: predict the classes of image files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dsft.assembly import Network, Source
from dsft.assembly.exported_file import load_finished
from dsft.choices import Amp, BadImages, SplitName
from dsft.data import LoaderSettings, Split, evaluation_transform, find_images, make_loader
from dsft.data.decoding import read_image
from dsft.data.loader import BatchLoader
from dsft.data.sources.unlabelled import UnlabelledImages
from dsft.devices import Compute, resolve_compute
from dsft.errors import DataError
from dsft.evaluation import Prediction, predict
from dsft.progress import Report, Warn, ignore


@dataclass(frozen=True)
class PredictResult:
    """The predictions, in the order of the paths, and the images that could not be read."""

    predictions: tuple[Prediction, ...]
    unreadable: tuple[str, ...]

    def to_csv(self) -> str:
        """Return one CSV row per image; further classes are in further columns."""
        count = max([1, *(len(prediction.classes) for prediction in self.predictions)])
        ranks = ["", *(f"_{rank}" for rank in range(2, count + 1))]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["path", *(f"{name}{rank}" for rank in ranks for name in ("class", "probability"))])
        for prediction in self.predictions:
            pairs = zip(prediction.classes, prediction.probabilities, strict=True)
            cells = [cell for name, p in pairs for cell in (name, f"{p:.6f}")]
            writer.writerow([prediction.path, *cells, *[""] * (2 * count - len(cells))])
        return text.getvalue()

    def to_jsonl(self) -> str:
        """Return JSON lines, one object per image."""
        return "".join(f"{json.dumps(prediction.to_dict())}\n" for prediction in self.predictions)


@dataclass(frozen=True)
class PredictSettings:
    """How images are read and what is predicted.

    Attributes:
        top_k: Number of classes per image, for a task with one class per image; None for 1.
        threshold: Probability above which a label is predicted, for a task with several labels; None for 0.5.
        batch_size: Images per batch.
        workers: Processes that read images; ``auto`` chooses by the number of cores and images.
        bad_images: Skip images that cannot be read with a warning, or stop with an error.
    """

    top_k: int | None = None
    threshold: float | None = None
    batch_size: int = 64
    workers: int | Literal["auto"] = "auto"
    bad_images: BadImages = BadImages.SKIP


def run(
    model: Source,
    paths: Sequence[str],
    settings: PredictSettings | None = None,
    *,
    device: str = "auto",
    report: Report = ignore,
) -> PredictResult:
    """Predict the classes of images with a model folder, with the preprocessing that it records.

    Args:
        model: A model folder, a run folder or an exported file.
        paths: Image files, folders and patterns.
        settings: How images are read and what is predicted; None for the defaults.
        device: Where the model runs.
        report: Receives the progress, and a warning for each image that cannot be read.

    Raises:
        InputError: The folder or a path is invalid, or an image is, with ``bad_images=error``.
    """
    settings = settings or PredictSettings()
    images = find_images(paths)
    compute = resolve_compute(device, Amp.NONE, channels_last=True)
    network = load_finished(model)
    select = network.task.view.class_selector(settings.top_k, settings.threshold)
    compute.place_module(network.module)
    loader = _load_images(images, network, settings, compute)
    classes = network.classes or tuple(map(str, range(network.spec.num_classes)))
    predictions: list[Prediction] = []
    try:
        predictions.extend(
            predict(
                network.module, loader, classes=classes, select=select, compute=compute, keys=images.keys, report=report
            )
        )
    except DataError:
        # The loader stops if it can read no image at all; here every image gets a warning of its own instead.
        if settings.bad_images is BadImages.ERROR or len(loader.skipped) < len(images.keys):
            raise
    unreadable = tuple(key for key in images.keys if key in loader.skipped)
    for key in unreadable:
        report(Warn(_why_unreadable(key)))
    return PredictResult(tuple(predictions), unreadable)


def _load_images(
    images: UnlabelledImages, network: Network, settings: PredictSettings, compute: Compute
) -> BatchLoader:
    is_cuda = compute.device.type == "cuda"
    return make_loader(
        Split(SplitName.TEST, images, tuple(range(len(images.keys))), images.classes),
        evaluation_transform(network.preprocessing),
        LoaderSettings(settings.batch_size, settings.workers, bad_images=settings.bad_images, pin_memory=is_cuda),
        shuffle=False,
    )


def _why_unreadable(key: str) -> str:
    try:
        read_image(Path(key))
    except DataError as error:
        return str(error)
    return f"{key!r}: could not be read during prediction, and can be read now."
