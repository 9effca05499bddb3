"""The common base class of torch's convolutions, the method that it computes them with, and oneDNN's convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from dsft.compat.lookup import lookup

_PUBLIC = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
_COMPUTE = "_conv_forward"


def convolution_class() -> Any:
    """Return what ``isinstance`` recognises a convolution by.

    This is torch's own base class, of which users derive convolutions as well; without it, the union of the public
    classes.
    """
    return lookup("torch.nn.modules.conv", "_ConvNd") or _PUBLIC


if TYPE_CHECKING:
    from torch.nn.modules.conv import _ConvNd

    Convolution = _ConvNd
else:
    Convolution = convolution_class()
"""Any convolution of torch, for annotations and for ``isinstance``."""


def computes_alike(own: type[nn.Module], plain: type[nn.Module]) -> bool:
    """Whether a class inherits the method that ``plain.forward`` delegates to.

    torch's classes call ``_conv_forward``, which a derived class may override. Without that name, an override of any
    private method of ``plain`` counts as a change.

    Args:
        own: A class derived from ``plain``.
        plain: A public convolution class of torch.
    """
    if hasattr(plain, _COMPUTE):
        return getattr(own, _COMPUTE) is getattr(plain, _COMPUTE)
    derived = own.__mro__[: own.__mro__.index(plain)]
    names = {name for each in derived for name in vars(each) if name.startswith("_") and not name.startswith("__")}
    return not any(hasattr(plain, name) for name in names)


def onednn_convolution(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor | None:
    """Convolve with oneDNN for any number of threads; None if torch does not offer the operator."""
    operator = lookup("torch", "mkldnn_convolution")
    return None if operator is None else operator(images, weight, bias, padding, stride, dilation, groups)
