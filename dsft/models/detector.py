"""Detection networks of torchvision with tensors instead of lists, as loaders and exported files have them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from dsft.errors import ModelError
from dsft.models.box_selection import select_boxes
from dsft.tasks import DETECTIONS

_BOXES = 100  # fixed boxes of a two-stage network whose raw outputs are compared


class Batched(nn.Module):
    """Takes the place of torchvision's transform: images come normalized and resized, and boxes stay as they are."""

    def forward(self, images: Sequence[Tensor], targets: Any = None) -> tuple[ImageList, Any]:
        """Return the images as one tensor, with their sizes."""
        stacked = torch.stack(list(images))
        height, width = stacked.shape[-2:]
        return ImageList(stacked, [(height, width)] * len(images)), targets

    def postprocess(self, result: Any, image_shapes: object, original_image_sizes: object) -> Any:
        """Return the detections unchanged."""
        del image_shapes, original_image_sizes
        return result


class Detector(nn.Module):
    """A detection network that takes and returns tensors, in the form of :mod:`dsft.tasks.detection.codec`.

    Class ``k`` is torchvision's label ``k + 1``: its label 0 is the background.

    Args:
        network: A network with the interface of torchvision's: it takes lists of images and of targets, and returns a
            dict of losses in training mode, else a dict with ``boxes``, ``labels`` and ``scores`` for each image. Its
            attribute ``transform`` is replaced, since images come normalized and resized.
        num_classes: Number of classes, without the background.
    """

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.network = network
        self.num_classes = num_classes
        self._is_raw = False
        if isinstance(getattr(network, "transform", None), GeneralizedRCNNTransform):
            network.transform = Batched()

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor | list[Tensor]:
        """Return detections ``(batch, 100, 6)``; in training mode the losses ``(losses,)``.

        Args:
            images: ``(batch, channels, height, width)``, normalized.
            targets: ``(batch, boxes, 6)``, see :mod:`dsft.tasks.detection.codec`; None for images without objects.
        """
        if self._is_raw:
            return self._raw_outputs(images)
        if self.training:
            boxes = images.new_zeros(len(images), 0, 6) if targets is None else targets
            losses = self.network(list(images), [_as_target(own) for own in boxes])
            return torch.stack([loss for _, loss in sorted(losses.items())])
        if torch.compiler.is_exporting():
            return select_boxes(self.network, images, DETECTIONS)
        return torch.stack([_as_tensor(found) for found in self.network(list(images))])

    def raw_view(self) -> Self:
        """Return a network with the same modules that returns what its heads compute, before boxes are selected.

        Which boxes are selected changes abruptly with the weights; these outputs are differentiable, and those of two
        networks can be compared. The second stage of a two-stage network is run on the same 100 boxes in each image.
        """
        view = copy.copy(self)
        view._is_raw = True
        return view

    def _raw_outputs(self, images: Tensor) -> list[Tensor]:
        network: Any = self.network
        if not hasattr(network, "backbone") or not (hasattr(network, "head") or hasattr(network, "roi_heads")):
            return [_as_tensor(found) for found in network(list(images))]
        features = network.backbone(images)
        features = {"0": features} if isinstance(features, Tensor) else features
        if hasattr(network, "head"):
            outputs: Mapping[str, Tensor] = network.head(list(features.values()))
            return [output for _, output in sorted(outputs.items())]
        objectness, deltas = network.rpn.head(list(features.values()))
        height, width = images.shape[-2:]
        boxes, heads = _fixed_boxes(height, width).to(images), network.roi_heads
        pooled = heads.box_roi_pool(features, [boxes] * len(images), [(height, width)] * len(images))
        # One row for each image, since the batch is what is averaged over.
        second = (output.unflatten(0, (len(images), -1)) for output in heads.box_predictor(heads.box_head(pooled)))
        return [*objectness, *deltas, *second]


def as_detector(module: nn.Module) -> nn.Module:
    """Return the inverse of :meth:`Detector.raw_view`; other networks unchanged."""
    if not isinstance(module, Detector):
        return module
    view = copy.copy(module)
    view._is_raw = False
    return view


def wrap_detector(network: nn.Module, name: str) -> Detector:
    """Return a network of torchvision's as a detector, with the number of classes of its heads.

    Raises:
        ModelError: It is no such network.
    """
    if isinstance(network, Detector):
        return network
    outputs = count_labels(network)
    if outputs is None:
        raise ModelError(
            f"model {name}: task detection needs a network with the interface of torchvision's detectors, found "
            f"{type(network).__name__}. Return an instance of torchvision.models.detection.FasterRCNN, RetinaNet, FCOS "
            "or SSD."
        )
    return Detector(network, outputs - 1)


def count_labels(network: nn.Module) -> int | None:
    """Return the number of labels of a network of torchvision's, with the background; None for any other network."""
    found: Any = network
    try:
        if hasattr(found, "roi_heads"):
            return int(found.roi_heads.box_predictor.cls_score.out_features)
        head = found.head.classification_head
        # That of SSD counts the columns of its outputs.
        return int(getattr(head, "num_classes", None) or head.num_columns)
    except AttributeError:
        return None


def detection_heads(module: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of a detector whose size depends on the number of classes, by name; empty for others."""
    if not isinstance(module, Detector):
        return {}
    network: Any = module.network
    if hasattr(network, "roi_heads"):
        return {"network.roi_heads.box_predictor": network.roi_heads.box_predictor}
    head = network.head.classification_head
    if hasattr(head, "cls_logits"):
        return {"network.head.classification_head.cls_logits": head.cls_logits}
    return {"network.head.classification_head": head}


def count_classes(module: Detector, state: Mapping[str, Tensor]) -> int:
    """Return the number of classes of weights for a detector that may have another number of them."""
    labels = module.num_classes + 1
    for prefix, head in detection_heads(module).items():
        for name, parameter in head.named_parameters(prefix):
            # Several boxes at a place have a score for each label.
            if parameter.dim() > 1 and parameter.shape[0] % labels == 0 and name in state:
                return state[name].shape[0] * labels // parameter.shape[0] - 1
    return module.num_classes


def set_classes(module: Detector, num_classes: int) -> None:
    """Note the number of classes of a detector whose heads were replaced."""
    module.num_classes = num_classes
    head: Any = getattr(getattr(module.network, "head", None), "classification_head", None)
    if hasattr(head, "num_classes"):
        head.num_classes = num_classes + 1


def _as_target(boxes: Tensor) -> dict[str, Tensor]:
    """Return the boxes of an image that are neither padding nor a crowd, as torchvision's networks take them."""
    kept = boxes[(boxes[:, 4] >= 0) & (boxes[:, 5] == 0)]
    return {"boxes": kept[:, :4], "labels": kept[:, 4].long() + 1}


def _as_tensor(found: Mapping[str, Tensor]) -> Tensor:
    """Return the detections of an image as ``(100, 6)``, the highest scores first."""
    labels = found["labels"]
    columns = (found["boxes"].float(), found["scores"].float()[:, None], labels.float()[:, None] - 1)
    rows = torch.cat(columns, 1)[labels > 0]
    rows = rows[rows[:, 4].argsort(descending=True, stable=True)][:DETECTIONS]
    padded = functional.pad(rows, (0, 0, 0, DETECTIONS - len(rows)))
    is_padding = torch.arange(DETECTIONS, device=rows.device) >= len(rows)
    return torch.where(is_padding[:, None], padded.new_tensor([0, 0, 0, 0, 0, -1.0]), padded)


def _fixed_boxes(height: int, width: int) -> Tensor:
    """Return boxes ``(100, 4)`` of a quarter to the whole of each side, spread evenly over an image."""
    generator = torch.Generator().manual_seed(0)
    sizes = 0.25 + 0.75 * torch.rand(_BOXES, 2, generator=generator)
    corners = torch.rand(_BOXES, 2, generator=generator) * (1 - sizes)
    return torch.cat([corners, corners + sizes], 1) * torch.tensor([width, height, width, height])
