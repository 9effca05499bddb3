"""The selection of boxes from the outputs of one-stage detectors, in a form that can be exported.

It gives what torchvision's ``postprocess_detections`` does, with shapes that depend on the input's shape alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import nms

from dsft.errors import ModelError

_GAP = 1.5  # between the boxes of different classes and images, in parts of the image's larger side


class _Candidates(NamedTuple):
    """The candidates of each image: scores, places among the anchors, and labels, each ``(images, candidates)``."""

    scores: Tensor
    places: Tensor
    labels: Tensor


def select_boxes(network: Any, images: Tensor, detections: int) -> Tensor:
    """Return the detections ``(images, detections, 6)`` of a one-stage network; see :class:`dsft.models.Detector`.

    Args:
        network: An FCOS, RetinaNet or SSD of torchvision.
        images: ``(images, channels, height, width)``, normalized.
        detections: Number of rows; a class of -1 is padding.

    Raises:
        ModelError: It is another network.
    """
    kind = next((kind for kind in _SCORES if isinstance(network, kind)), None)
    if kind is None:
        raise ModelError(
            f"{type(network).__name__}: only one-stage detectors (FCOS, RetinaNet, SSD) can be exported with the "
            "selection of their boxes. The operator torchvision::roi_align runs on a number of boxes that depends on "
            "the image"
        )
    height, width = images.shape[-2:]
    features = network.backbone(images)
    maps = [features] if isinstance(features, Tensor) else list(features.values())
    outputs: Mapping[str, Tensor] = network.head(maps)
    anchors = network.anchor_generator(ImageList(images, [(height, width)]), maps)[0]
    scores = _SCORES[kind](outputs)
    if kind is SSD:
        found = _best_of_each_class(scores, network.topk_candidates)
    else:
        per_place = scores.shape[1] // sum(each.shape[-2] * each.shape[-1] for each in maps)
        levels = [per_place * each.shape[-2] * each.shape[-1] for each in maps]
        found = _best_of_each_level(scores, levels, network.topk_candidates)
    boxes = _decode(network, outputs["bbox_regression"], anchors)
    boxes = torch.stack([boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)], 3).flatten(2)
    boxes = _take(boxes, found.places)
    is_kept = _without_overlaps(boxes / max(height, width), found, scores.shape[2] + 1, network.nms_thresh)
    kept = torch.where(is_kept & (found.scores > network.score_thresh), found.scores, -1.0)
    rows = torch.cat([boxes, kept[..., None], found.labels[..., None].to(boxes) - 1], 2)
    rows = _highest(rows, network.detections_per_img)
    rows = torch.where((rows[..., 4:5] > 0) & (rows[..., 5:] >= 0), rows, rows.new_tensor([0, 0, 0, 0, 0, -1.0]))
    rows = _highest(rows, detections)
    padding = rows.new_tensor([0, 0, 0, 0, 0, -1.0]).expand(rows.shape[0], detections - rows.shape[1], 6)
    return torch.cat([rows, padding], 1)


def _scores_of_fcos(outputs: Mapping[str, Tensor]) -> Tensor:
    return torch.sqrt(outputs["cls_logits"].sigmoid() * outputs["bbox_ctrness"].sigmoid())


_SCORES: Mapping[Any, Callable[[Mapping[str, Tensor]], Tensor]] = {
    FCOS: _scores_of_fcos,
    RetinaNet: lambda outputs: outputs["cls_logits"].sigmoid(),
    SSD: lambda outputs: functional.softmax(outputs["cls_logits"], dim=-1)[..., 1:],
}


def _best_of_each_level(scores: Tensor, levels: list[int], most: int) -> _Candidates:
    """Return the highest scores of each feature map, whatever their labels."""
    labels, start, parts = scores.shape[2], 0, []
    for size in levels:
        own = scores[:, start : start + size].flatten(1)
        best, index = own.topk(min(most, size * labels), dim=1)
        parts.append((best, torch.div(index, labels, rounding_mode="floor") + start, index % labels))
        start += size
    return _Candidates(*(torch.cat(column, 1) for column in zip(*parts, strict=True)))


def _best_of_each_class(scores: Tensor, most: int) -> _Candidates:
    """Return the highest scores of each class; the background is not among them."""
    best, places = scores.transpose(1, 2).topk(min(most, scores.shape[1]), dim=2)
    labels = torch.arange(1, scores.shape[2] + 1, device=scores.device)[None, :, None].expand_as(places)
    return _Candidates(best.flatten(1), places.flatten(1), labels.flatten(1))


def _decode(network: Any, regression: Tensor, anchors: Tensor) -> Tensor:
    """Return the boxes ``(images, anchors, 4)``."""
    flat = regression.flatten(0, 1)
    repeated = anchors[None].expand(regression.shape[0], -1, -1).flatten(0, 1)
    decode = network.box_coder.decode if isinstance(network, FCOS) else network.box_coder.decode_single
    boxes: Tensor = decode(flat, repeated).reshape(regression.shape[0], -1, 4)
    return boxes


def _without_overlaps(boxes: Tensor, found: _Candidates, labels: int, threshold: float) -> Tensor:
    """Return which candidates remain ``(images, candidates)`` after non-maximum suppression within each class."""
    image = torch.arange(boxes.shape[0], device=boxes.device)[:, None]
    apart = boxes + _GAP * (image * labels + found.labels)[..., None]
    kept = nms(apart.flatten(0, 1), found.scores.flatten(), threshold)
    marked = torch.zeros_like(found.scores.flatten()).index_put((kept,), torch.ones((), device=boxes.device))
    return marked.reshape(found.scores.shape) > 0


def _highest(rows: Tensor, most: int) -> Tensor:
    """Return the rows with the highest scores."""
    return _take(rows, rows[..., 4].topk(min(most, rows.shape[1]), dim=1).indices)


def _take(rows: Tensor, places: Tensor) -> Tensor:
    return rows.gather(1, places[..., None].expand(-1, -1, rows.shape[2]))
