"""What a conversion does with each convolution: a frozen value that prints, goes to JSON and is replayed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from dsft.choices import Decision, Form, Method, Order, Reason, Structure

RENAMED_REASONS = {
    "not a 2d convolution": Reason.NO_SEPARABLE_LAYER,
    "a convolution class of its own": Reason.SUBCLASS,
}
"""Words of plans that were written before other than plain 2d convolutions could be converted."""


@dataclass(frozen=True)
class LayerPlan:
    """What becomes of one convolution.

    Attributes:
        name: Its dotted name in the network.
        aliases: All names under which the same module stands, ``name`` included.
        weight_shape: Shape of its weight, by which a network is recognised when the plan is replayed; empty
            where it is not known, as in plans that were written before it was kept.
        decision: Converted or kept.
        reason: Why.
        order: Which convolution comes first, or None where it is kept or of low rank.
        kernels: Depthwise kernels of each input channel (``dw_pw``) or output channel (``pw_dw``); of low rank the
            kernels of the first convolution in each group; empty where it is kept.
        macs_before: Multiply-accumulates for one image.
        macs_after: The same after the conversion.
        relative_error: Frobenius norm of the change of the kernel over that of the kernel; None where the
            layer is kept or starts from random weights.
        form: How an input channel reaches several kernels; None where none does. The order in which the layer
            keeps its weights follows from it, so it is changed before the plan is applied, or by ``in_form``.
        adds_bias: The separable layer has a bias that the convolution has not, since it is fitted to means too.
    """

    name: str
    aliases: tuple[str, ...]
    weight_shape: tuple[int, ...]
    decision: Decision
    reason: Reason
    order: Order | None
    kernels: tuple[int, ...]
    macs_before: int
    macs_after: int
    relative_error: float | None
    form: Form | None = None
    adds_bias: bool = False

    @property
    def is_converted(self) -> bool:
        """Whether the convolution is replaced."""
        return self.decision is Decision.CONVERTED

    @property
    def structure(self) -> Structure | None:
        """What it becomes, or None where it is kept."""
        if not self.is_converted:
            return None
        return Structure.LOW_RANK if self.order is None else Structure(self.order)

    def kept(self, reason: Reason) -> Self:
        """Return the same for a dense convolution in its place, of another shape."""
        return replace(
            self,
            weight_shape=(),
            decision=Decision.KEPT,
            reason=reason,
            order=None,
            kernels=(),
            macs_after=self.macs_before,
            relative_error=None,
            form=None,
            adds_bias=False,
        )


@dataclass(frozen=True)
class ConversionPlan:
    """What a conversion does with a whole network.

    Attributes:
        method: How the weights are derived.
        layers: Every convolution, in the order of the network's definition.
        macs_before: Multiply-accumulates of the whole network for one image.
        macs_after: The same after the conversion.
        norm_between: Whether a norm and an activation stand between the two convolutions of each layer.
        params_before: Parameters of the whole network; 0 in plans that were written before it was kept.
        params_after: The same after the conversion.
    """

    method: Method
    layers: tuple[LayerPlan, ...]
    macs_before: int
    macs_after: int
    norm_between: bool = False
    params_before: int = 0
    params_after: int = 0

    @property
    def converted(self) -> tuple[LayerPlan, ...]:
        """The layers that are replaced."""
        return tuple(layer for layer in self.layers if layer.is_converted)

    @property
    def macs_ratio(self) -> float:
        """Share of the multiply-accumulates that is left, 0 to 1 for a network that became cheaper."""
        return self.macs_after / self.macs_before if self.macs_before else 1.0

    @property
    def params_ratio(self) -> float:
        """Share of the parameters that is left."""
        return self.params_after / self.params_before if self.params_before else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild the plan that :meth:`to_dict` returned.

        Raises:
            KeyError, TypeError, ValueError: ``values`` is not such a plan.
        """
        layers = tuple(_layer_from_dict(layer) for layer in values["layers"])
        return cls(**{**values, "method": Method(values["method"]), "layers": layers})

    def __str__(self) -> str:
        lines = [
            f"{len(self.converted)} of {len(self.layers)} convolutions converted by {self.method}, "
            f"MACs {self.macs_before:,} -> {self.macs_after:,} ({self.macs_ratio:.3f})"
        ]
        if self.params_before:
            lines.append(f"parameters {self.params_before:,} -> {self.params_after:,} ({self.params_ratio:.3f})")
        for layer in self.layers:
            kernels = f"{layer.structure}, {sum(layer.kernels)} kernels" if layer.is_converted else "dense"
            form = f", {layer.form}" if layer.form is not None else ""
            lines.append(f"  {layer.name}: {kernels}{form} ({layer.reason})")
        return "\n".join(lines)


def _layer_from_dict(values: Mapping[str, Any]) -> LayerPlan:
    words: dict[str, Any] = {
        "aliases": tuple(values["aliases"]),
        "weight_shape": tuple(values.get("weight_shape", ())),
        "decision": Decision(values["decision"]),
        "reason": Reason(RENAMED_REASONS.get(values["reason"], values["reason"])),
        "order": Order(values["order"]) if values["order"] is not None else None,
        "kernels": tuple(values["kernels"]),
        "form": Form(values["form"]) if values.get("form") is not None else None,
    }
    _check_sizes(words)
    return LayerPlan(**{**values, **words})


def _check_sizes(words: Mapping[str, Any]) -> None:
    """Refuse numbers that no plan has, before a layer of their size is built."""
    shape, kernels = words["weight_shape"], words["kernels"]
    if not all(isinstance(alias, str) for alias in words["aliases"]):
        raise TypeError(f"aliases: names are needed, found {words['aliases']!r}")
    # More would be linearly dependent: than a kernel has positions, or than a matrix has rows or columns.
    most = math.inf if not shape else max(shape[:2]) if words["order"] is None else math.prod(shape[2:])
    if odd := [count for count in kernels if not isinstance(count, int) or not 0 <= count <= most]:
        raise ValueError(f"kernels: numbers from 0 to {most} are needed, found {odd[0]!r}")
