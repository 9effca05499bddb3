"""``dsft.check_converted``: whether a network still has the layers of its plan."""

from __future__ import annotations

from torch import nn

from dsft.conversion.discovery.preconditions import unwrap_network
from dsft.conversion.plan import ConversionPlan
from dsft.errors import ConversionError
from dsft.separable import FactoredConv


def check_converted(model: nn.Module, plan: ConversionPlan) -> None:
    """Check that a network has the converted layers of its plan.

    Trainers of other libraries may build a network anew from its configuration, which is dense. Call it when training
    starts, and when it has ended.

    Args:
        model: The network that is trained. Wrappers of ``torch.compile`` and of data parallelism are removed.
        plan: The plan of its conversion.

    Raises:
        ConversionError: Layers of the plan are missing or dense.
    """
    found = {name: part for name, part in unwrap_network(model).named_modules() if isinstance(part, FactoredConv)}
    lost = [layer.name for layer in plan.converted if not _is_as_planned(found.get(layer.name), layer.structure)]
    if lost:
        total = len(plan.converted)
        raise ConversionError(
            f"the network has {total - len(lost)} of the {total} converted layers of its plan; {lost[0]!r} is not "
            "converted. The network was built anew, as trainers do that build it from its configuration. Let the "
            "trainer take the converted network."
        )


def _is_as_planned(layer: FactoredConv | None, structure: str | None) -> bool:
    return layer is not None and layer.structure == structure
