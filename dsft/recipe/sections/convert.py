"""``convert``: which convolutions become separable ones, and what the network may cost."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dsft.choices import Cost, Form, Method, Order, Runtime, Structure
from dsft.recipe.sections.base import Fraction, Section


class BudgetSection(Section):
    """What the converted network may cost, as a share of the whole original network, or lose; one of these."""

    macs: Fraction | None = None
    """Multiply-accumulate operations of one forward pass, 0 to 1."""
    params: Fraction | None = None
    """Parameters, 0 to 1."""
    latency: Fraction | None = None
    """Time of one forward pass, 0 to 1, measured with one thread on the device that trains."""
    max_drop: Annotated[float, Field(ge=0)] | None = None
    """Points of top-1 (with several labels an image, of mAP) on val that may be lost, in percent: budgets are tried
    until the smallest that loses no more is found."""
    by: Cost | None = None
    """With `max_drop`: the cost that is made smallest; left out, `macs`."""
    runtime: Runtime = Runtime.EAGER
    """What runs whatever is measured: torch itself (`eager`), or ONNX Runtime."""

    @model_validator(mode="after")
    def _one_cost(self) -> Self:
        costs = [name for name in type(self).model_fields if name not in ("by", "runtime")]
        given = [cost for cost in costs if getattr(self, cost) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"exactly one of {', '.join(costs)} is needed, found {found}")
        if self.by is not None and self.max_drop is None:
            raise ValueError("by: goes with max_drop, whose cost it names")
        return self


class CalibrationSection(Section):
    """Images of the training split, without labels, that the kept weights are fitted to."""

    images: Annotated[int, Field(ge=0)] = 512
    """How many; they are held in memory. 0 keeps the weights without looking at any data."""


class ConvertSection(Section):
    """Swap convolutions for depthwise-separable ones; without this section the network stays dense."""

    method: Method = Method.AUTO
    """How the new weights are derived: `refit` (fitted layer by layer to what the original network does with the
    calibration images), `svd` (truncated singular value decomposition, without data), `fresh` (random), `auto`
    (`refit` where there are weights to keep)."""
    order: Order = Order.AUTO
    """Which convolution comes first; `auto` chooses for each layer under a budget, and is `dw_pw` with `rank`."""
    structures: Annotated[list[Structure], Field(min_length=1)] = [Structure.DW_PW, Structure.PW_DW]
    """What a convolution may become; with `low_rank` among them one of a single position becomes two such with fewer
    channels between."""
    form: Form = Form.AUTO
    """How an input channel reaches several depthwise kernels; `auto` takes for each layer what measures fastest,
    another form is taken wherever the layer can take it."""
    budget: BudgetSection | None = None
    """What the network may cost afterwards; ranks are spread over its layers to fit. This or `rank`."""
    rank: Annotated[int, Field(ge=1)] | Literal["full"] | None = None
    """Depthwise kernels per input channel (`dw_pw`) or output channel (`pw_dw`), alike in every layer; `full` is
    exact. This or `budget`."""
    include: list[str] = ["*"]
    """Patterns of the layers that may be converted, such as `layer4.*`."""
    exclude: list[str] = []
    """Patterns of the layers that stay dense."""
    calibration: CalibrationSection = CalibrationSection()
    """The images that `refit` looks at."""
    norm_between: bool = False
    """Put a batch normalisation and a ReLU between the two convolutions, for training from scratch; with the method
    `fresh` only."""
    only_faster: bool = False
    """Keep dense what measures no faster."""

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.budget is None) == (self.rank is None):
            found = (
                "neither. Add budget: {macs: 0.5} or rank: 2"
                if self.budget is None
                else "both. Take one out; on the command line ~convert.budget or ~convert.rank does it"
            )
            raise ValueError(f"exactly one of budget and rank is needed, found {found}")
        if self.method is Method.REFIT and not self.calibration.images:
            raise ValueError("calibration: method refit fits the weights to images, found images: 0; use method svd")
        if self.norm_between and self.method is not Method.FRESH:
            raise ValueError("norm_between: goes with method fresh only, which keeps no weights")
        if self.norm_between and Structure.LOW_RANK in self.structures:
            raise ValueError("norm_between: goes with dw_pw and pw_dw, and not with low_rank among the structures")
        if self.order is not Order.AUTO and str(self.order) not in map(str, self.structures):
            raise ValueError(f"order: {self.order} is none of the structures; add it there, or leave order out")
        return self
