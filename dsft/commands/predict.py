"""``dsft predict``: predict classes or boxes of images or other examples, or write masks or restored images."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dsft.assembly import Network, Source
from dsft.assembly.exported_file import load_finished
from dsft.assembly.inputs import as_images
from dsft.assembly.network import place_inputs
from dsft.choices import Amp, BadImages, InputKind, SplitName, TargetKind
from dsft.data import LoaderSettings, PictureTransform, Split, Transform, Windows, make_loader
from dsft.data.inputs import INPUTS
from dsft.data.loader import BatchLoader
from dsft.data.signal_transforms import Extent, SignalTransform
from dsft.data.sources import UnlabelledFiles, find_examples
from dsft.devices import Compute, resolve_compute
from dsft.errors import DataError, InputError, OutputError
from dsft.evaluation import (
    ArrayPredictor,
    BoxPredictor,
    ClassPredictor,
    PicturePredictor,
    Prediction,
    Predictor,
    as_coco,
    picture_files,
    predict,
    signal_mask_name,
)
from dsft.preprocessing import SignalPreprocessing
from dsft.progress import Report, Warn, ignore
from dsft.storage import require_free_file
from dsft.tasks.detection import SHOWN_SCORE


@dataclass(frozen=True)
class PredictResult:
    """The predictions, in the order of the paths, what could not be read, the class table, and what the inputs are."""

    predictions: tuple[Prediction, ...]
    unreadable: tuple[str, ...]
    classes: tuple[str, ...] = ()
    kind: InputKind = InputKind.IMAGE

    def to_csv(self) -> str:
        """Return one CSV row per image; further classes are in further columns."""
        if any(prediction.found is not None for prediction in self.predictions):
            return self._boxes_to_csv()
        if any(prediction.file is not None for prediction in self.predictions):
            return self._files_to_csv()
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

    def _files_to_csv(self) -> str:
        text = io.StringIO()
        rows = [(prediction.path, prediction.file) for prediction in self.predictions]
        csv.writer(text, lineterminator="\n").writerows([("path", "file"), *rows])
        return text.getvalue()

    def _boxes_to_csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["path", "class", "score", "left", "top", "right", "bottom"])
        for each in self.predictions:
            boxes = each.found.boxes if each.found is not None else ()
            for name, score, box in zip(each.classes, each.probabilities, boxes, strict=True):
                writer.writerow([each.path, name, f"{score:.6f}", *(f"{side:.2f}" for side in box)])
        return text.getvalue()

    def to_coco(self) -> str:
        """Return the boxes as a COCO data set in JSON.

        Raises:
            InputError: The predictions are no boxes.
        """
        if any(prediction.found is None for prediction in self.predictions):
            raise InputError("--format coco: requires a model that predicts boxes. Use csv or jsonl.")
        return f"{json.dumps(as_coco(self.predictions, self.classes))}\n"

    def to_jsonl(self) -> str:
        """Return JSON lines, one object per image."""
        return "".join(f"{json.dumps(prediction.to_dict())}\n" for prediction in self.predictions)


@dataclass(frozen=True)
class PredictSettings:
    """How images are read and what is predicted.

    Attributes:
        top_k: Number of classes per image, for a task with one class per image; None for 1.
        threshold: Probability above which a label is predicted, for a task with several labels, None for 0.5; or least
            score of a box, None for 0.3.
        batch_size: Images per batch.
        workers: Processes that read images; ``auto`` chooses by the number of cores and images.
        bad_images: Skip images that cannot be read with a warning, or stop with an error.
        pictures: Folder for predicted masks or images, needed for the tasks that predict them; or for copies of the
            images with the predicted boxes drawn onto them.
        overwrite: Replace files in it.
        window_overlap: Run the network in windows that overlap by this fraction; None for what the model records.
    """

    top_k: int | None = None
    threshold: float | None = None
    batch_size: int = 64
    workers: int | Literal["auto"] = "auto"
    bad_images: BadImages = BadImages.SKIP
    pictures: Path | None = None
    overwrite: bool = False
    window_overlap: float | None = None


def run(
    model: Source,
    paths: Sequence[str],
    settings: PredictSettings | None = None,
    *,
    device: str = "auto",
    report: Report = ignore,
) -> PredictResult:
    """Predict for images with a model folder, with the preprocessing that it records.

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
    network = place_inputs(load_finished(model), window_overlap=settings.window_overlap, option="--window-overlap")
    images = find_examples(paths, network.preprocessing.kind)
    compute = resolve_compute(device, Amp.NONE, channels_last=True)
    predictor = _predictor(network, settings, images.keys)
    compute.place_module(network.module)
    loader = _load_images(images, network, settings, compute)
    predictions: list[Prediction] = []
    try:
        predictions.extend(
            predict(
                network.module,
                loader,
                num_classes=network.spec.num_classes,
                predictor=predictor,
                compute=compute,
                keys=images.keys,
                task=network.task,
                kind=images.input_kind,
                report=report,
            )
        )
    except DataError:
        # The loader stops if it can read no image at all; here every image gets a warning of its own instead.
        if settings.bad_images is BadImages.ERROR or len(loader.skipped) < len(images.keys):
            raise
    unreadable = tuple(key for key in images.keys if key in loader.skipped)
    for key in unreadable:
        report(Warn(loader.skipped[key]))
    return PredictResult(tuple(predictions), unreadable, _classes(network), images.input_kind)


def _load_images(images: UnlabelledFiles, network: Network, settings: PredictSettings, compute: Compute) -> BatchLoader:
    preprocessing, kind = network.preprocessing, network.task.codec.target_kind
    windows = Windows.of(preprocessing, settings.batch_size)
    # Images to restore keep their sizes, which may differ, as do those that the network runs on in windows.
    batch_size = 1 if kind is TargetKind.IMAGE or windows is not None else settings.batch_size
    is_cuda = compute.device.type == "cuda"
    return make_loader(
        Split(SplitName.TEST, images, tuple(range(len(images.keys))), images.classes),
        _transform(network),
        LoaderSettings(
            batch_size, settings.workers, bad_images=settings.bad_images, pin_memory=is_cuda, windows=windows
        ),
        shuffle=False,
    )


def _transform(network: Network) -> Transform:
    """Return the transform of examples without ground truth; where the network runs in windows, of whole ones."""
    preprocessing = network.preprocessing
    if network.task.labels is not None:
        return INPUTS[preprocessing.kind].evaluation_transform(preprocessing)
    if isinstance(preprocessing, SignalPreprocessing):
        extent = Extent.CENTRE if preprocessing.window_overlap is None else Extent.WHOLE
        return SignalTransform(preprocessing, extent=extent)
    return PictureTransform(as_images(preprocessing), network.task.codec.target_kind)


def _predictor(network: Network, settings: PredictSettings, paths: Sequence[str]) -> Predictor:
    """Return what makes predictions of outputs.

    Raises:
        InputError: The task does not support one of the settings, or needs another one.
    """
    labels, folder = network.task.labels, settings.pictures
    if labels is not None:
        if folder is not None:
            raise InputError(
                f"--pictures {str(folder)!r}: requires a model whose predictions are pictures or boxes, and the task "
                f"of this one is {network.task.name}. Use --out."
            )
        return ClassPredictor(_classes(network), labels.view.class_selector(settings.top_k, settings.threshold))
    is_boxes = network.task.codec.target_kind is TargetKind.BOXES
    given = {"--top-k": settings.top_k, "--threshold": None if is_boxes else settings.threshold}
    if unfit := [name for name, value in given.items() if value is not None]:
        raise InputError(
            f"{unfit[0]}: requires a model that predicts a class or labels, found task {network.task.name}. Leave it "
            "out."
        )
    preprocessing = network.preprocessing
    is_signal = isinstance(preprocessing, SignalPreprocessing)
    files = None if folder is None else _free_files(paths, folder, is_signal, settings)
    if is_boxes:
        threshold = SHOWN_SCORE if settings.threshold is None else settings.threshold
        return BoxPredictor(_classes(network), as_images(preprocessing), threshold, files)
    if files is None:
        raise InputError(
            f"--pictures: is needed, since the predictions of task {network.task.name} are "
            f"{'arrays' if is_signal else 'pictures'}. Name the folder to write them to."
        )
    if isinstance(preprocessing, SignalPreprocessing):
        return ArrayPredictor(preprocessing, files)
    return PicturePredictor(network.task, files)


def _free_files(paths: Sequence[str], folder: Path, is_signal: bool, settings: PredictSettings) -> Mapping[str, Path]:
    """Return the file of each prediction, none of which is an input, or exists unless it may be replaced."""
    files = picture_files(paths, folder, signal_mask_name) if is_signal else picture_files(paths, folder)
    inputs = {Path(path).resolve() for path in paths}
    for file in files.values():
        if file.resolve() in inputs:
            raise OutputError(
                f"--pictures {str(folder)!r}: {str(file)!r} is one of the inputs, so it cannot be replaced. Choose "
                "another folder."
            )
        require_free_file(file, overwrite=settings.overwrite)
    return files


def _classes(network: Network) -> tuple[str, ...]:
    return network.classes or tuple(map(str, range(network.spec.num_classes)))
