"""``dsft inspect``: the layers of a network, their costs, and what a conversion could save; needs no weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dsft.assembly import Network, Source, outline_source
from dsft.assembly.conversion import require_fitting_input
from dsft.conversion import Inspection, inspect_layers
from dsft.data.inputs import INPUTS
from dsft.devices import Compute
from dsft.errors import DsftError
from dsft.progress import Report, ignore


@dataclass(frozen=True)
class InspectResult:
    """The layers of a network, for images of a size in pixels."""

    model: str
    image_size: tuple[int, ...]
    inspection: Inspection

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {"model": self.model, "image_size": list(self.image_size), **self.inspection.to_dict()}


def run(source: Source, report: Report = ignore) -> InspectResult:
    """List the layers of a network.

    Args:
        source: The network.
        report: Receives where its weights come from.

    Raises:
        InputError: The source cannot be built, or does not take images of this size.
    """
    try:
        network = outline_source(source, meta=True, report=report)
        inspection = _inspection(network)
    except DsftError:
        raise
    except Exception:  # the meta device has no values, which some networks read while they are built or run
        network = outline_source(source, meta=False, report=ignore)
        require_fitting_input(network, Compute(torch.device("cpu")))
        inspection = _inspection(network)
    return InspectResult(str(network.spec), network.preprocessing.size, inspection)


def _inspection(network: Network) -> Inspection:
    weight = next(network.module.parameters())
    images = INPUTS[network.preprocessing.kind].blank(network.preprocessing, 1).to(weight.device)
    return inspect_layers(network.module, images.to(weight.dtype) if images.is_floating_point() else images)
