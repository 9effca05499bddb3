"""Describe the evaluation transform step by step, so that other programs can reproduce it exactly."""

from __future__ import annotations

from typing import Any

from timm.data.transforms import CenterCropOrPad, ResizeKeepRatio
from torchvision.transforms import CenterCrop, Resize

from dsft.data.transforms import MODES, evaluation_steps
from dsft.preprocessing import Preprocessing

_OFFSET = "round((side - size) / 2), ties to even"
_PADDING = "where a side is shorter than its size: (size - side) // 2 before it, (size - side + 1) // 2 after it"
_OTHER_SIDE = "int(size * longer / shorter)"
_RATIO_RULES = {
    0.0: "round(side / min(height / size[0], width / size[1])), ties to even",
    1.0: "round(side / max(height / size[0], width / size[1])), ties to even",
}


def describe_steps(preprocessing: Preprocessing) -> list[dict[str, Any]]:
    """Return the operations from an image file to the input tensor, in order, as JSON values.

    Sizes are ``[height, width]`` in pixels. Resizing is that of Pillow on 8-bit pixels, which always filters over the
    area that it reduces (antialiasing). The values are those of the transform that dsft evaluates with, read from its
    steps.

    Args:
        preprocessing: The input that the model expects.
    """
    overlap = preprocessing.window_overlap
    size = (
        [_describe_step(step) for step in evaluation_steps(preprocessing)[:-2]]
        if overlap is None
        else [{"op": "windows", "size": list(preprocessing.image_size), "overlap": overlap, "outputs": "mean"}]
    )
    return [
        {"op": "decode", "mode": MODES[preprocessing.channels], "bits": 8, "apply_exif_orientation": True},
        *size,
        {"op": "to_float32", "divide_by": 255},
        {"op": "normalize", "mean": list(preprocessing.mean), "std": list(preprocessing.std)},
        {"op": "layout", "to": "NCHW"},
    ]


def _describe_step(step: Any) -> dict[str, Any]:
    if isinstance(step, CenterCrop | CenterCropOrPad):
        crop = {"op": "center_crop", "size": list(step.size), "offset": _OFFSET, "padding": _PADDING}
        return {**crop, "fill": getattr(step, "fill", 0)}
    if not isinstance(step, Resize | ResizeKeepRatio):
        raise TypeError(f"{type(step).__name__}: this step of timm's evaluation transform has no description yet")
    interpolation: Any = step.interpolation
    return {"op": "resize", **_describe_size(step), "interpolation": interpolation.value, "antialias": True}


def _describe_size(step: Any) -> dict[str, Any]:
    if isinstance(step, ResizeKeepRatio):
        covers = step.longest == 0.0
        return {"rule": "keep_ratio", "size": list(step.size), "covers": covers, "sides": _RATIO_RULES[step.longest]}
    if isinstance(step.size, int):
        return {"rule": "shorter_side", "size": step.size, "longer_side": _OTHER_SIDE}
    return {"rule": "exact", "size": list(step.size)}
