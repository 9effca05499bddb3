"""``convert``: which convolutions are replaced by separable ones, and what the network may cost."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dsft.choices import AUTO, Cost, Form, Method, Runtime, Structure
from dsft.conversion_rules import BUDGET_KEYS, find_budget_conflict, find_conflict
from dsft.recipe.sections.base import Fraction, Section


class BudgetSection(Section):
    """The largest cost of the converted network, as a fraction of the original's, or the largest loss of score.

    Exactly one of `macs`, `params`, `latency` and `max_drop` is given.
    """

    macs: Fraction | None = None
    """Multiply-accumulate operations of one forward pass, 0 to 1."""
    params: Fraction | None = None
    """Parameters, 0 to 1."""
    latency: Fraction | None = None
    """Time of one forward pass, 0 to 1, measured on the device that trains."""
    max_drop: Annotated[float, Field(ge=0)] | None = None
    """Points of the main score on val that may be lost: of top-1, or of mAP with several labels an image, in percent.
    Budgets are tried until the smallest is found that loses no more."""
    by: Cost | None = None
    """The cost that `max_drop` minimizes; `macs` by default."""
    runtime: Runtime = Runtime.EAGER
    """Runtime for latency measurements: torch itself (`eager`), ONNX Runtime (`onnxruntime`), OpenVINO (`openvino`) or
    ExecuTorch with XNNPACK (`executorch`). `compiled` is not supported, since a compiler fuses layers."""
    batch_size: Annotated[int, Field(ge=1)] = 1
    """Inputs in the forward pass that is timed."""
    threads: Annotated[int, Field(ge=1)] = 1
    """Threads per operator in the forward pass that is timed."""

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        given = [key for key in (*BUDGET_KEYS, "by") if getattr(self, key) is not None]
        if conflict := find_budget_conflict(given):
            raise ValueError(conflict)
        return self


class CalibrationSection(Section):
    """Images of the train split, without labels, that the method `refit` fits the weights to."""

    images: Annotated[int, Field(ge=0)] = 512
    """Number of images; they are held in memory. With 0, `auto` is the method `svd`."""


class RecoverSection(Section):
    """Gradient steps after the fit to the calibration images, without labels, before the training."""

    steps: Literal["auto"] | Annotated[int, Field(ge=1)] = AUTO
    """Number of steps; `auto` for up to 600, within twice the time of the conversion before it."""


class ConvertSection(Section):
    """Replace convolutions by depthwise-separable ones; without this section the network stays dense."""

    method: Literal["auto"] | Method = AUTO
    """How the new weights are derived: `refit` (fitted layer by layer to the outputs of the original network on the
    calibration images), `svd` (truncated singular value decomposition, without data), `fresh` (random), or `auto`
    (`refit` where the network has trained weights, else `fresh`)."""
    structures: Literal["auto"] | Annotated[list[Structure], Field(min_length=1)] = AUTO
    """What a convolution may be replaced by: a pointwise, a depthwise and a pointwise convolution (`pw_dw_pw`), a
    depthwise and a pointwise one (`dw_pw`), the same in the other order (`pw_dw`), and for 1x1 kernels two 1x1
    convolutions with fewer channels in between (`low_rank`). Under a budget each layer gets the one with the smallest
    error at its cost; with `rank` it gets the first one that fits. `auto` takes those of the first three, and the
    sizes, that are expected to be faster than the convolution; with `rank` and `norm_between` it is `dw_pw` and
    `pw_dw`."""
    form: Literal["auto"] | Form = AUTO
    """How an input channel is fed to several depthwise kernels. `auto` takes the form that measures fastest for each
    layer; any other is used wherever a layer supports it."""
    budget: BudgetSection | None = None
    """The largest cost, or loss of score, of the converted network. Either this or `rank`."""
    rank: Annotated[int, Field(ge=1)] | Literal["full"] | None = None
    """Kernels per input channel (`dw_pw`), per output channel (`pw_dw`), per channel of the wider side (`pw_dw_pw`) or
    per group (`low_rank`), the same in every layer; `full` for as many as make the layers exact. Either this or
    `budget`."""
    include: list[str] = ["*"]
    """Patterns of the layers that may be converted, such as `layer4.*`."""
    exclude: list[str] = []
    """Patterns of the layers that stay dense."""
    calibration: CalibrationSection = CalibrationSection()
    """The images for the method `refit`."""
    recover: RecoverSection | None = None
    """Bring the outputs of the network's blocks closer to those of the original, on calibration images that are varied
    and mixed. Some of them are set aside, and decide whether the result is kept. Requires the method `refit`."""
    norm_between: bool = False
    """Put a batch normalization and a ReLU between the two convolutions, for training from scratch; requires the method
    `fresh`."""
    only_faster: bool = False
    """Keep layers dense that do not measure faster."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        conflict = find_conflict(
            has_budget=self.budget is not None,
            has_rank=self.rank is not None,
            method=self.method,
            structures=None if self.structures == AUTO else self.structures,
            norm_between=self.norm_between,
        )
        if conflict is not None:
            raise ValueError(conflict)
        if self.method is Method.REFIT and not self.calibration.images:
            raise ValueError("calibration: method refit requires calibration images, found images: 0; use method svd")
        is_fitted = self.method in (AUTO, Method.REFIT) and self.calibration.images > 0
        if self.recover is not None and not is_fitted:
            raise ValueError(
                "recover: trains on the calibration images of method refit, found "
                f"method: {self.method}, images: {self.calibration.images}"
            )
        return self
