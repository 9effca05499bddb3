"""Predict for images without ground truth: classes, boxes or pictures."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from PIL import Image
from torch import Tensor, nn

from dsft.choices import InputKind
from dsft.data.decoding import image_size, read_image
from dsft.data.placement import place_image
from dsft.devices import Compute
from dsft.evaluation.batches import BatchSource
from dsft.evaluation.inference import infer_batches
from dsft.preprocessing import Preprocessing
from dsft.progress import Report, ignore, report_task
from dsft.storage import write_bytes
from dsft.tasks import ClassSelector, Task
from dsft.tasks.detection import DrawnBox, draw_boxes


class FoundBoxes(NamedTuple):
    """The boxes of an image, one for each class of its prediction.

    Attributes:
        size: Width and height of the image.
        boxes: Left, top, right and bottom of each box in its pixels.
    """

    size: tuple[int, int]
    boxes: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Prediction:
    """The prediction for an image: its classes, boxes with a class each, or a file.

    Attributes:
        path: The image.
        classes: Names of the predicted classes in order of decreasing probability.
        probabilities: Their probabilities, 0 to 1; of boxes the scores.
        file: The predicted mask or image, or the image with its boxes; None if none was written.
        found: The boxes; None if the classes are those of the whole image.
    """

    path: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    file: str | None = None
    found: FoundBoxes | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as JSON values."""
        file = {} if self.file is None else {"file": self.file}
        rows = zip(self.classes, self.probabilities, strict=True)
        if self.found is not None:
            boxes = [
                {"class": name, "score": score, "box": list(box)}
                for (name, score), box in zip(rows, self.found.boxes, strict=True)
            ]
            return {"path": self.path, "boxes": boxes, **file}
        if file:
            return {"path": self.path, **file}
        return {"path": self.path, "predictions": [{"class": name, "probability": share} for name, share in rows]}


class Predictor(Protocol):
    """Makes predictions of the outputs of a network."""

    def __call__(self, paths: Sequence[str], outputs: Tensor) -> list[Prediction]:
        """Return the prediction for each image of a batch.

        Args:
            paths: The images.
            outputs: The main output ``(batch, ...)``, float32, on the CPU.
        """


@dataclass(frozen=True)
class ClassPredictor:
    """Names the predicted classes of images.

    Attributes:
        classes: The class table, in the order of the logits.
        select: Selects the predicted classes, see :meth:`dsft.tasks.LabelView.class_selector`.
    """

    classes: Sequence[str]
    select: ClassSelector

    def __call__(self, paths: Sequence[str], outputs: Tensor) -> list[Prediction]:
        """Return the names of the selected classes."""
        return [
            Prediction(path, tuple(self.classes[index] for index in chosen.classes), chosen.probabilities)
            for path, chosen in zip(paths, self.select(outputs), strict=True)
        ]


@dataclass(frozen=True)
class BoxPredictor:
    """Names the objects of images, with boxes in pixels of the image file.

    Attributes:
        classes: The class table.
        preprocessing: The network's input.
        threshold: Least score of a box.
        files: The file to draw the boxes into, by the path of the image; None to draw none.
    """

    classes: Sequence[str]
    preprocessing: Preprocessing
    threshold: float
    files: Mapping[str, Path] | None = None

    def __call__(self, paths: Sequence[str], outputs: Tensor) -> list[Prediction]:
        """Return the boxes of each image, the highest scores first, and draw them onto a copy of it."""
        found = [self._boxes(path, output) for path, output in zip(paths, outputs, strict=True)]
        return found if self.files is None else [self._draw(each, self.files[each.path]) for each in found]

    def _boxes(self, path: str, output: Tensor) -> Prediction:
        kept = output[(output[:, 5] >= 0) & (output[:, 4] >= self.threshold)].double()
        size = image_size(Path(path))
        moved = place_image(size, self.preprocessing).to_image(kept[:, :4].numpy(), size)
        classes = tuple(self.classes[number] for number in kept[:, 5].long().tolist())
        found = FoundBoxes(size, tuple((a, b, c, d) for a, b, c, d in moved.tolist()))
        return Prediction(path, classes, tuple(kept[:, 4].tolist()), found=found)

    def _draw(self, prediction: Prediction, file: Path) -> Prediction:
        boxes = prediction.found.boxes if prediction.found is not None else ()
        numbers = [self.classes.index(name) for name in prediction.classes]
        drawn = map(DrawnBox, boxes, numbers, prediction.classes, prediction.probabilities)
        _write_picture(file, draw_boxes(read_image(Path(prediction.path)), list(drawn)))
        return replace(prediction, file=str(file))


def as_coco(predictions: Sequence[Prediction], classes: Sequence[str]) -> dict[str, Any]:
    """Return predicted boxes as a COCO data set, whose annotations have scores.

    Images and categories have the ids 1, 2, ... in their order.

    Args:
        predictions: Predictions with boxes.
        classes: The class table.
    """
    numbers = {name: number for number, name in enumerate(classes, 1)}
    images, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
    for identifier, each in enumerate(predictions, 1):
        if each.found is None:
            raise TypeError(f"{each.path}: the prediction has no boxes")
        (width, height), boxes = each.found
        images.append({"id": identifier, "file_name": each.path, "width": width, "height": height})
        for name, score, (left, top, right, bottom) in zip(each.classes, each.probabilities, boxes, strict=True):
            box = [left, top, right - left, bottom - top]
            entry = {"id": len(annotations) + 1, "image_id": identifier, "category_id": numbers[name], "bbox": box}
            annotations.append({**entry, "area": box[2] * box[3], "iscrowd": 0, "score": score})
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


@dataclass(frozen=True)
class PicturePredictor:
    """Writes predicted masks or images as PNG files.

    Attributes:
        task: The task of the network.
        files: The file to write, by the path of the image.
    """

    task: Task
    files: Mapping[str, Path]

    def __call__(self, paths: Sequence[str], outputs: Tensor) -> list[Prediction]:
        """Write a file for each image, and return their paths."""
        return [
            Prediction(path, file=str(self._write(path, output))) for path, output in zip(paths, outputs, strict=True)
        ]

    def _write(self, path: str, output: Tensor) -> Path:
        picture: Image.Image | None = self.task.view.write_prediction(output, read_image(Path(path)).size)
        if picture is None:
            raise TypeError(f"task {self.task.name}: predictions are no pictures")
        _write_picture(self.files[path], picture)
        return self.files[path]


def _write_picture(file: Path, picture: Image.Image) -> None:
    content = io.BytesIO()
    picture.save(content, "PNG")
    write_bytes(file, content.getvalue())


def picture_name(path: str) -> tuple[str, str]:
    """Return the name without ending, and the ending, of the file for the predicted picture of an image."""
    return Path(path).stem, "png"


def picture_files(
    paths: Sequence[str], folder: Path, name_of: Callable[[str], tuple[str, str]] = picture_name
) -> dict[str, Path]:
    """Return the file for the prediction of each example: its name with another ending, numbered where names repeat.

    Args:
        paths: The examples.
        folder: Where the files will be.
        name_of: Returns the name of such a file without its ending, and the ending.
    """
    files: dict[str, Path] = {}
    # Some file systems do not distinguish upper and lower case.
    taken, counts = set[str](), Counter[str]()
    for path in paths:
        stem, ending = name_of(path)
        name = stem
        # A numbered name may be that of another example.
        while name.casefold() in taken:
            counts[stem.casefold()] += 1
            name = f"{stem}-{counts[stem.casefold()] + 1}"
        taken.add(name.casefold())
        files[path] = folder / f"{name}.{ending}"
    return files


def predict(
    module: nn.Module,
    loader: BatchSource,
    *,
    num_classes: int,
    predictor: Predictor,
    compute: Compute,
    keys: Sequence[str],
    task: Task,
    kind: InputKind = InputKind.IMAGE,
    report: Report = ignore,
) -> Iterator[Prediction]:
    """Yield the predictions for all readable images, in the order of ``keys``.

    Args:
        module: The network, on the device of ``compute``.
        loader: The images, with the evaluation transform and not shuffled.
        num_classes: Number of outputs.
        predictor: Makes predictions of the outputs.
        compute: How the network runs.
        keys: Paths of the images, by position.
        task: The task of the network.
        kind: What the images are.
        report: Receives the progress, in images.

    Raises:
        ModelError: The output does not have the shape that the task and the classes need.
        TrainingError: An output is not finite.
    """
    with report_task(report, "predicting", len(keys), kind.plural) as advance:
        for outputs, batch in infer_batches(
            module,
            loader,
            num_classes=num_classes,
            compute=compute,
            keys=keys,
            what=kind.plural,
            advance=advance,
            task=task,
        ):
            yield from predictor([keys[position] for position in batch.positions.tolist()], outputs.cpu())
