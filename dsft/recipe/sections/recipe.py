"""The recipe: all of its sections, and the rules between them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dsft.recipe.sections.augment import AugmentSection
from dsft.recipe.sections.base import Section
from dsft.recipe.sections.convert import ConvertSection
from dsft.recipe.sections.data import DataSection
from dsft.recipe.sections.distill import DistillSection
from dsft.recipe.sections.evaluate import EvaluateSection
from dsft.recipe.sections.model import ModelSection
from dsft.recipe.sections.optim import EmaSection, FreezePhase, OptimSection, ScheduleSection
from dsft.recipe.sections.output import LogSection, OutputSection
from dsft.recipe.sections.train import TrainSection


class Recipe(Section):
    """One fine-tuning or training run."""

    version: Annotated[int, Field(ge=1, le=1, json_schema_extra={"const": 1})]
    """Version of the recipe format."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", examples=["quickstart", "run-2.b"])]
    """The run's name; it names the output folder, so it is made of letters, digits, `.`, `_` and `-`."""
    task: Literal["classification"] = "classification"
    """What the network predicts."""
    model: ModelSection
    convert: ConvertSection | None = None
    data: DataSection
    augment: AugmentSection = AugmentSection()
    optim: OptimSection = OptimSection()
    schedule: ScheduleSection = ScheduleSection()
    freeze: list[FreezePhase] = []
    """Phases in which a part of the network is frozen, in order of `until`."""
    distill: DistillSection | None = None
    ema: EmaSection | None = None
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    output: OutputSection = OutputSection()
    log: LogSection = LogSection()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.data.batch_size == "auto" and self.train.grad_accum != 1:
            raise ValueError("train.grad_accum: is chosen where data.batch_size is auto; leave one of the two out")
        return self
