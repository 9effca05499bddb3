"""``dsft inspect``: the layers of a network, what each costs and what a conversion could save; no weights needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dsft.assembly import Network, outline_source
from dsft.assembly.conversion import require_fitting_images
from dsft.conversion import Inspection, inspect_layers
from dsft.devices import Compute
from dsft.errors import DsftError
from dsft.progress import Report, ignore


@dataclass(frozen=True)
class InspectResult:
    """The layers of a network at one size of its images, in pixels."""

    model: str
    image_size: tuple[int, int]
    inspection: Inspection

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {"model": self.model, "image_size": list(self.image_size), **self.inspection.to_dict()}


def run(
    source: str, *, model: str | None = None, image_size: int | None = None, report: Report = ignore
) -> InspectResult:
    """List the layers of a network.

    Args:
        source: ``timm/NAME``, ``torchvision/NAME``, a model folder, the folder of a run, or a weights file.
        model: The network that a weights file belongs to, as ``timm/NAME``.
        image_size: Side of the images in pixels; None for what the weights were trained with.
        report: Receives what was taken from where.

    Raises:
        InputError: The source cannot be built, or does not take images of this size.
    """
    try:
        network = outline_source(source, model, image_size, meta=True, report=report)
        inspection = _inspection(network)
    except DsftError:
        raise
    except Exception:  # some networks look at values while they are built or run, and the meta device has none
        network = outline_source(source, model, image_size, meta=False, report=ignore)
        require_fitting_images(network, Compute(torch.device("cpu")))
        inspection = _inspection(network)
    return InspectResult(str(network.spec), network.preprocessing.image_size, inspection)


def _inspection(network: Network) -> Inspection:
    weight = next(network.module.parameters())
    shape = (1, network.preprocessing.channels, *network.preprocessing.image_size)
    return inspect_layers(network.module, torch.zeros(shape, device=weight.device, dtype=weight.dtype))
