"""What a conversion does with each convolution: a frozen value that prints, goes to JSON and can be replayed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from dsft.choices import Decision, Form, Method, Reason, Structure
from dsft.conversion.plan_migration import PLAN_VERSION, migrate_plan


@dataclass(frozen=True)
class Replacement:
    """The layer that replaces a convolution, apart from its weights.

    Attributes:
        structure: Its structure.
        kernels: See :class:`LayerPlan`.
        form: See :class:`LayerPlan`.
    """

    structure: Structure
    kernels: tuple[int, ...]
    form: Form | None = None


@dataclass(frozen=True)
class LayerPlan:
    """What becomes of one convolution.

    Attributes:
        name: Its dotted name in the network.
        aliases: All names of the module, ``name`` included.
        weight_shape: Shape of its weight, checked when the plan is replayed; empty where it is not known, as in plans
            of early versions.
        decision: Whether it is converted or kept.
        reason: Why.
        structure: What replaces it; None where it is kept.
        kernels: Depthwise kernels per input channel (``dw_pw``), per output channel (``pw_dw``) or of each group
            (``pw_dw_pw``), or the rank of each group (``low_rank``); empty where it is kept.
        macs_before: Multiply-accumulates for one image.
        macs_after: The same after the conversion.
        relative_error: Frobenius norm of the change of the kernel, relative to the kernel; an estimate for
            ``pw_dw_pw``. After a fit to calibration data it is the relative error of the layer's output there. None
            where the layer is kept or has random weights.
        form: How an input channel is fed to several kernels; None where no channel is repeated. It determines the
            order in which the layer stores its weights.
        adds_bias: The new layer has a bias that the convolution has not, for a fit to calibration data.
    """

    name: str
    aliases: tuple[str, ...]
    weight_shape: tuple[int, ...]
    decision: Decision
    reason: Reason
    structure: Structure | None
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
    def replacement(self) -> Replacement:
        """The layer that replaces a converted convolution.

        Raises:
            ValueError: The convolution is kept.
        """
        if self.structure is None:
            raise ValueError(f"layer {self.name!r}: is kept and has no replacement")
        return Replacement(self.structure, self.kernels, self.form)

    @property
    def order(self) -> Structure | None:
        """``dw_pw`` or ``pw_dw`` where the layer is one of these, else None."""
        return self.structure if self.structure in (Structure.DW_PW, Structure.PW_DW) else None

    @property
    def width(self) -> int | None:
        """Depthwise kernels over all groups of a ``pw_dw_pw`` layer, else None."""
        return sum(self.kernels) if self.structure is Structure.PW_DW_PW else None

    @property
    def size(self) -> str:
        """Its depthwise kernels per channel on average, its width or its rank, as text; empty where it is kept."""
        if not self.kernels:
            return ""
        if self.width is not None:
            return f"width {self.width}"
        is_low_rank = self.structure is Structure.LOW_RANK
        return f"rank {self.kernels[0]}" if is_low_rank else f"{sum(self.kernels) / len(self.kernels):.1f}"

    def kept(self, reason: Reason) -> Self:
        """Return the plan of a dense convolution under the same name, of another shape."""
        return replace(
            self,
            weight_shape=(),
            decision=Decision.KEPT,
            reason=reason,
            structure=None,
            kernels=(),
            macs_after=self.macs_before,
            relative_error=None,
            form=None,
            adds_bias=False,
        )

    def __str__(self) -> str:
        form = f", {self.form}" if self.form is not None else ""
        return f"{self.name}: {self._describe()}{form} ({self.reason.message})"

    def _describe(self) -> str:
        if self.structure is None:
            return "dense"
        if self.order is None:
            return f"{self.structure}, {self.size}"
        side = "input" if self.structure is Structure.DW_PW else "output"
        return f"{self.structure}, {self.size} kernels per {side} channel"


@dataclass(frozen=True)
class ConversionPlan:
    """What a conversion does with a whole network.

    Attributes:
        method: How the weights are derived.
        layers: Every convolution, in the order of the network's definition.
        macs_before: Multiply-accumulates of the whole network for one image.
        macs_after: The same after the conversion.
        norm_between: Whether a norm and an activation stand between the two convolutions of each layer.
        params_before: Parameters of the whole network; 0 in plans of early versions.
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
        """Share of the multiply-accumulates that is left."""
        return self.macs_after / self.macs_before if self.macs_before else 1.0

    @property
    def params_ratio(self) -> float:
        """Share of the parameters that is left."""
        return self.params_after / self.params_before if self.params_before else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {"version": PLAN_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild the plan that :meth:`to_dict` of this or an earlier version returned.

        Raises:
            CheckpointError: It was written by a newer version of dsft.
            KeyError, TypeError, ValueError: ``values`` is not a plan.
        """
        values = migrate_plan(values)
        layers = tuple(_layer_from_dict(layer) for layer in values["layers"])
        return cls(**{**values, "method": Method(values["method"]), "layers": layers})

    def __str__(self) -> str:
        lines = [
            f"{len(self.converted)} of {len(self.layers)} convolutions converted by {self.method}, "
            f"MACs {self.macs_before:,} -> {self.macs_after:,} ({self.macs_ratio:.3f})"
        ]
        if self.params_before:
            lines.append(f"parameters {self.params_before:,} -> {self.params_after:,} ({self.params_ratio:.3f})")
        return "\n".join([*lines, *(f"  {layer}" for layer in self.layers)])


def _layer_from_dict(values: Mapping[str, Any]) -> LayerPlan:
    read: dict[str, Any] = {
        "aliases": tuple(values["aliases"]),
        "weight_shape": tuple(values["weight_shape"]),
        "decision": Decision(values["decision"]),
        "reason": Reason(values["reason"]),
        "structure": Structure(values["structure"]) if values["structure"] is not None else None,
        "kernels": tuple(values["kernels"]),
        "form": Form(values["form"]) if values["form"] is not None else None,
    }
    if (read["structure"] is not None) != (read["decision"] is Decision.CONVERTED):
        raise ValueError(f"structure: goes with converted layers alone, found {values['structure']!r}")
    _check_sizes(read)
    return LayerPlan(**{**values, **read})


def _check_sizes(layer: Mapping[str, Any]) -> None:
    """Reject sizes that no plan has, before a layer of that size is built."""
    shape, kernels = layer["weight_shape"], layer["kernels"]
    if not all(isinstance(alias, str) for alias in layer["aliases"]):
        raise TypeError(f"aliases: names are needed, found {layer['aliases']!r}")
    most = _most_kernels(layer["structure"], shape) if shape else math.inf
    if odd := [count for count in kernels if not isinstance(count, int) or not 0 <= count <= most]:
        raise ValueError(f"kernels: numbers from 0 to {most} are needed, found {odd[0]!r}")


def _most_kernels(structure: Structure | None, shape: tuple[int, ...]) -> int:
    """Return the largest number of kernels that are not linearly dependent, given the shape of a weight."""
    positions = math.prod(shape[2:])
    if structure is Structure.LOW_RANK:
        return max(shape[:2])
    return max(shape[:2]) * positions if structure is Structure.PW_DW_PW else positions
