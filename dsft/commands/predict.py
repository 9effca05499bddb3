"""``dsft predict``: the classes of image files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dsft.assembly import Source, load_folder
from dsft.choices import Amp, BadImages, SplitName
from dsft.data import Split, evaluation_transform, find_images, make_loader
from dsft.data.decoding import read_image
from dsft.devices import resolve_compute
from dsft.errors import DataError
from dsft.evaluation import Prediction, predict
from dsft.progress import Report, Warn, ignore


@dataclass(frozen=True)
class PredictResult:
    """The predictions, in the order of the paths, and the images that could not be read."""

    predictions: tuple[Prediction, ...]
    unreadable: tuple[str, ...]

    def to_csv(self) -> str:
        """Return a table with a row for each image, as CSV; further classes stand in further columns."""
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
        """Return one JSON object a line, an image each."""
        return "".join(f"{json.dumps(prediction.to_dict())}\n" for prediction in self.predictions)


def run(
    model: Source,
    paths: Sequence[str],
    *,
    top_k: int | None = None,
    threshold: float | None = None,
    batch_size: int = 64,
    workers: int | Literal["auto"] = "auto",
    bad_images: BadImages = BadImages.SKIP,
    device: str = "auto",
    report: Report = ignore,
) -> PredictResult:
    """Predict the classes of images with a model folder, preprocessed as the folder says.

    Args:
        model: A model folder, or the folder of a run.
        paths: Image files, folders and patterns.
        top_k: Classes to name for each image, where it has one; None for one.
        threshold: Probability above which a label is named, where an image has several; None for 0.5.
        batch_size: Images in a batch.
        workers: Processes that read images; ``auto`` chooses by cores and images.
        bad_images: Leave out what cannot be read and tell of it, or stop there.
        device: Where the model runs.
        report: Receives the progress, and a warning for each image that cannot be read.

    Raises:
        InputError: The folder or a path is at fault, or an image with ``bad_images=error``.
    """
    images = find_images(paths)
    compute = resolve_compute(device, Amp.NONE, channels_last=True)
    network = load_folder(Path(model.label), model.read_builder())
    select = network.task.view.class_selector(top_k, threshold)
    compute.place_module(network.module)
    loader = make_loader(
        Split(SplitName.TEST, images, tuple(range(len(images.keys))), images.classes),
        evaluation_transform(network.preprocessing),
        batch_size=batch_size,
        workers=workers,
        seed=0,
        shuffle=False,
        bad_images=bad_images,
        pin_memory=compute.device.type == "cuda",
    )
    classes = network.classes or tuple(map(str, range(network.spec.num_classes)))
    predictions: list[Prediction] = []
    try:
        predictions.extend(
            predict(
                network.module,
                loader,
                classes=classes,
                select=select,
                compute=compute,
                keys=images.keys,
                report=report,
            )
        )
    except DataError:
        # Where nothing at all can be read, the loader says so; here that is one message for each image.
        if bad_images is BadImages.ERROR or len(loader.skipped) < len(images.keys):
            raise
    unreadable = tuple(key for key in images.keys if key in loader.skipped)
    for key in unreadable:
        report(Warn(_why_unreadable(key)))
    return PredictResult(tuple(predictions), unreadable)


def _why_unreadable(key: str) -> str:
    try:
        read_image(Path(key))
    except DataError as error:
        return str(error)
    return f"{key!r}: could not be read a moment ago, and can now."
