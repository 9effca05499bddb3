"""Image transforms for evaluation and, with augmentation, for training; built from timm's."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps
from timm.data.transforms_factory import create_transform
from torch import Tensor

from dsft.compat.timm_transforms import image_steps
from dsft.errors import DataError, RecipeError
from dsft.preprocessing import Preprocessing

Transform = Callable[[Any], Tensor]
"""Converts an example, such as an image, to the input of a network ``(channels, *size)``, float32."""

MODES = {1: "L", 3: "RGB"}
"""Pillow's mode of an image, by its number of channels."""

_POLICIES = ("rand", "augmix", "original", "originalr", "v0", "v0r", "3a")


def evaluation_transform(preprocessing: Preprocessing) -> Transform:
    """Return the transform for validation, test and prediction.

    Args:
        preprocessing: The input that the model expects.

    Returns:
        A function that converts an image to a normalised float32 tensor ``(channels, height, width)``.

    Raises:
        DataError: The model expects a number of channels other than 1 or 3.
    """
    return _compose(preprocessing, evaluation_steps(preprocessing))


def training_transform(
    preprocessing: Preprocessing,
    *,
    scale: tuple[float, float] | None,
    hflip: float,
    auto_augment: str | None,
    color_jitter: float | None,
    erase: float,
) -> Transform:
    """Return the transform for training, which uses the global random generators.

    Args:
        preprocessing: The input that the model expects.
        scale: Smallest and largest fraction of the image's area in a random crop; None crops as in evaluation.
        hflip: Probability of a horizontal flip, 0 to 1.
        auto_augment: timm's policy string, such as ``rand-m9-mstd0.5-inc1``.
        color_jitter: Strength of brightness, contrast and saturation jitter.
        erase: Probability of random erasing, 0 to 1.

    Returns:
        A function that converts an image to a normalised float32 tensor ``(channels, height, width)``.

    Raises:
        DataError: The model expects a number of channels other than 1 or 3.
        RecipeError: timm cannot parse the policy string, or ignores the colour jitter beside it.
    """
    try:
        _require_policy(auto_augment, color_jitter)
        crop_and_flip, colours, to_tensor = create_transform(
            is_training=True,
            separate=True,
            scale=scale,
            hflip=hflip,
            auto_augment=auto_augment,
            re_prob=erase,
            re_mode="pixel",
            **{"color_jitter": color_jitter, **_shared_arguments(preprocessing)},
        )
    except (AssertionError, KeyError, ValueError) as error:
        if auto_augment is None:
            raise
        raise RecipeError(
            f"augment.auto_augment: timm cannot parse the policy {auto_augment!r} ({error}). It must start "
            f"with one of {', '.join(_POLICIES)}, as in 'rand-m9-mstd0.5-inc1'."
        ) from error
    crop, *flip = crop_and_flip.transforms
    # Without a random crop, training uses the same resized crop as evaluation.
    geometry = [crop] if scale is not None else image_steps(evaluation_steps(preprocessing))
    return _compose(preprocessing, [*geometry, *flip, *map(_keep_a_bit, colours.transforms), *to_tensor.transforms])


def require_channels(channels: int) -> None:
    """Check that images can have this number of channels.

    Raises:
        DataError: They have 1 or 3 channels.
    """
    if channels not in MODES:
        raise DataError(
            f"model.in_chans: images are grayscale (1 channel) or RGB (3 channels), found a model with {channels} "
            "input channels. Use 1 or 3."
        )


@dataclass(frozen=True)
class _ImageTransform:
    """Converts to grayscale or RGB and applies the steps; picklable, as worker processes need it."""

    mode: str
    steps: tuple[Callable[[Any], Any], ...]

    def __call__(self, image: Image.Image) -> Tensor:
        value: Any = image.convert(self.mode)
        for step in self.steps:
            value = step(value)
        tensor: Tensor = value
        return tensor


def _compose(preprocessing: Preprocessing, steps: list[Any]) -> Transform:
    require_channels(preprocessing.channels)
    return _ImageTransform(MODES[preprocessing.channels], tuple(steps))


def evaluation_steps(preprocessing: Preprocessing) -> list[Any]:
    """Return timm's steps: resizing and cropping, then conversion to a tensor and normalisation."""
    transform = create_transform(
        is_training=False,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        **_shared_arguments(preprocessing),
    )
    return list(transform.transforms)


def _shared_arguments(preprocessing: Preprocessing) -> dict[str, Any]:
    return {
        "input_size": (preprocessing.channels, *preprocessing.image_size),
        "interpolation": preprocessing.interpolation,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
    }


def _require_policy(policy: str | None, color_jitter: float | None) -> None:
    """Reject settings that timm would silently ignore."""
    if policy is None:
        return
    name, *settings = policy.split("-")
    if name not in _POLICIES:
        raise ValueError(f"unknown policy {name!r}")
    for setting in settings:
        if not re.fullmatch(r"t(weights|3aw?)|[a-su-z][a-z]*\d[\d.]*", setting):
            raise ValueError(f"the setting {setting!r} has no effect")
    if color_jitter and "3a" not in policy:
        raise RecipeError(
            f"augment.color_jitter: timm ignores it beside auto_augment {policy!r}, found {color_jitter}. "
            "Remove one of the two."
        )


def _keep_a_bit(step: Any) -> Any:
    """Limit the posterize operations of a timm policy to at least one bit per channel.

    At high magnitudes timm asks for zero bits: a black image before Pillow 13, an exception since.
    """
    operations = [*getattr(step, "ops", []), *itertools.chain.from_iterable(getattr(step, "policy", []))]
    for operation in operations:
        if operation.name.startswith("Posterize"):
            operation.aug_fn = _posterize
    return step


def _posterize(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    return ImageOps.posterize(image, max(bits, 1))
